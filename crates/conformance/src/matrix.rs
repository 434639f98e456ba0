//! Verdicts of many backends on one page.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Case, Tier, Verdict};

/// Verdicts, a row for each case and a column for each backend.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    rows: BTreeMap<(Tier, String), BTreeMap<String, Verdict>>,
}

impl Matrix {
    /// Adds a verdict.
    pub fn add(&mut self, backend: &str, tier: Tier, case: &str, verdict: Verdict) {
        let row = self.rows.entry((tier, case.to_owned())).or_default();
        row.insert(backend.to_owned(), verdict);
    }

    /// Adds the same verdict of one backend to every row that there is.
    pub fn fill(&mut self, backend: &str, verdict: &Verdict) {
        for row in self.rows.values_mut() {
            row.insert(backend.to_owned(), verdict.clone());
        }
    }

    /// What came of a case; `None` if it was not judged.
    pub fn verdict(&self, backend: &str, case: &Case) -> Option<&Verdict> {
        self.rows.get(&(case.tier, case.name.to_owned()))?.get(backend)
    }

    fn backends(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.rows.values().flat_map(|row| row.keys()).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(String::as_str).collect()
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends = self.backends();
        let title = |(tier, name): &(Tier, String)| format!("{tier} {name}");
        let width = self.rows.keys().map(|key| title(key).len()).max().unwrap_or(0);
        write!(f, "{:width$}", "case")?;
        for backend in &backends {
            write!(f, "  {backend}")?;
        }
        for (key, row) in &self.rows {
            write!(f, "\n{:width$}", title(key))?;
            for backend in &backends {
                let cell = row.get(*backend).map_or("", word);
                write!(f, "  {cell:len$}", len = backend.len())?;
            }
        }
        writeln!(f)
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "pass",
        Verdict::Failed(_) => "FAIL",
        Verdict::Skipped(_) => "skip",
        Verdict::NotDeclared(_) => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_below_their_backend() {
        let mut matrix = Matrix::default();
        matrix.add("fake", Tier::T1, "b", Verdict::Passed);
        matrix.add("qemu", Tier::T0, "a", Verdict::Skipped("why".into()));
        matrix.add("fake", Tier::T0, "a", Verdict::Failed("how".into()));
        let lines = matrix.to_string();
        let lines: Vec<_> = lines.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["case  fake  qemu", "t0 a  FAIL  skip", "t1 b  pass"]);
    }
}
