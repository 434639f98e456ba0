//! `--fail-if`: how much worse than a baseline something may have become.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Report;
use super::report::Row;
use super::statistics::Summary;
use crate::failure::Failure;

/// What `--fail-if` says: a percentile of something, and by how much it may have grown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    text: String,
    quantity: Quantity,
    percentile: Percentile,
    limit_percent: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Quantity {
    /// All phases together.
    Total,
    /// Memory beyond the guest's.
    Memory,
    /// One phase.
    Phase(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Percentile {
    P50,
    P95,
}

/// What became of a condition on one supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The condition as it was written.
    pub(crate) condition: String,
    /// The supervisor.
    pub(crate) supervisor: String,
    /// What it is about, such as `boot.p95`.
    pub(crate) quantity: String,
    /// The value of the baseline, in milliseconds, or KiB for memory.
    pub(crate) baseline: f64,
    /// The value now.
    pub(crate) measured: f64,
    /// By how much that is more, in percent.
    pub(crate) change_percent: f64,
    /// What was allowed.
    pub(crate) limit_percent: f64,
    /// Whether it is more than was allowed.
    pub(crate) fails: bool,
}

/// How a condition is written, for messages.
const FORM: &str = "write [total|memory|<phase>.]p50|p95>[+]N%";

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = |why: &str| format!("{why}; {FORM}");
        let (subject, limit) = text.split_once('>').ok_or_else(|| invalid("it has no '>'"))?;
        let subject = subject.trim();
        let (quantity, percentile) = subject.rsplit_once('.').unwrap_or(("total", subject));
        let percentile = match percentile {
            "p50" => Percentile::P50,
            "p95" => Percentile::P95,
            _ => return Err(invalid("it is about neither p50 nor p95")),
        };
        let quantity = match quantity {
            "total" => Quantity::Total,
            "memory" => Quantity::Memory,
            "" => return Err(invalid("it names no phase before the '.'")),
            phase => Quantity::Phase(phase.to_owned()),
        };
        let number = limit.trim().strip_suffix('%').ok_or_else(|| invalid("it ends in no '%'"))?;
        let limit_percent: f64 = number.parse().map_err(|_| invalid("its limit is no number"))?;
        if !limit_percent.is_finite() {
            return Err(invalid("its limit is no number"));
        }
        Ok(Self { text: text.to_owned(), quantity, percentile, limit_percent })
    }
}

impl Condition {
    /// What it says of `now`, held against `before`; `None` where one of them has no value.
    pub(super) fn judge(&self, now: &Row, before: &Row) -> Option<Change> {
        let (baseline, measured) = (self.value(before)?, self.value(now)?);
        // Nothing takes less than the thousandth that values are rounded to.
        let change = (measured / baseline.max(1e-3) - 1.0) * 100.0;
        let rounded = |digits: f64| (change * digits).round() / digits;
        Some(Change {
            condition: self.text.clone(),
            supervisor: now.supervisor.clone(),
            quantity: self.subject(),
            baseline,
            measured,
            change_percent: rounded(10.0),
            limit_percent: self.limit_percent,
            // 110 is 10% more than 100, whatever floating point makes of it.
            fails: rounded(1e6) > self.limit_percent,
        })
    }

    fn value(&self, row: &Row) -> Option<f64> {
        let summary: &Summary = match &self.quantity {
            Quantity::Total => row.total_ms.as_ref()?,
            Quantity::Memory => &row.memory.as_ref()?.beyond_guest_kib,
            Quantity::Phase(name) => &row.phases.iter().find(|phase| phase.name == *name)?.ms,
        };
        Some(match self.percentile {
            Percentile::P50 => summary.p50,
            Percentile::P95 => summary.p95,
        })
    }

    fn subject(&self) -> String {
        let percentile = match self.percentile {
            Percentile::P50 => "p50",
            Percentile::P95 => "p95",
        };
        match &self.quantity {
            Quantity::Total => format!("total.{percentile}"),
            Quantity::Memory => format!("memory.{percentile}"),
            Quantity::Phase(name) => format!("{name}.{percentile}"),
        }
    }
}

impl Change {
    /// Both values and the change, in words.
    pub(crate) fn text(&self) -> String {
        let Self {
            supervisor, quantity, baseline, measured, change_percent, limit_percent, ..
        } = self;
        let unit = if quantity.starts_with("memory.") { "KiB" } else { "ms" };
        format!(
            "{supervisor}: {quantity} is {measured:.1} {unit}, {change_percent:+.1}% against \
             {baseline:.1} {unit} in the baseline, allowed are {limit_percent:+}%"
        )
    }
}

/// Finds out, before anything runs, whether the baseline has what the conditions are about.
pub(super) fn check(
    conditions: &[Condition],
    baseline: &Report,
    supervisors: &[String],
) -> Result<(), Failure> {
    let known: Vec<_> = baseline.supervisors.iter().map(|row| &*row.supervisor).collect();
    for supervisor in supervisors {
        let row = baseline.row(supervisor).ok_or_else(|| {
            Failure::usage(format!("the baseline has nothing about supervisor '{supervisor}'"))
                .with_hint(format!("it has: {}", known.join(", ")))
        })?;
        for condition in conditions {
            if condition.value(row).is_none() {
                let what = condition.subject();
                return Err(Failure::usage(format!(
                    "the baseline has no {what} for supervisor '{supervisor}'"
                ))
                .with_hint(row.quantities()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::{MeasuredPhase, Memory};
    use super::*;

    fn parse(text: &str) -> Result<(String, f64), String> {
        let condition: Result<Condition, _> = text.parse();
        condition.map(|c| (c.subject(), c.limit_percent))
    }

    #[test]
    fn conditions_name_a_percentile_and_a_limit() {
        let check = |text: &str, subject: &str, limit| {
            assert_eq!(parse(text), Ok((subject.to_owned(), limit)), "{text}");
        };
        check("p50>+10%", "total.p50", 10.0);
        check("total.p95>10%", "total.p95", 10.0);
        check("boot.p95>+20%", "boot.p95", 20.0);
        check("boot.p95 > 2.5%", "boot.p95", 2.5);
        check("memory.p50>-5%", "memory.p50", -5.0);
    }

    #[test]
    fn what_is_no_condition_says_why() {
        let check = |text: &str, why: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        };
        check("", "no '>'");
        check("p50<10%", "no '>'");
        check("p99>10%", "neither p50 nor p95");
        check("boot>10%", "neither p50 nor p95");
        check(".p50>10%", "names no phase");
        check("p50>10", "no '%'");
        check("p50>%", "no number");
        check("p50>much%", "no number");
        check("p50>inf%", "no number");
    }

    fn row(boot: f64, memory: Option<f64>) -> Row {
        let of = |value| Summary::of([value]).unwrap();
        Row {
            supervisor: "s".into(),
            total_ms: Some(of(boot + 100.0)),
            phases: vec![MeasuredPhase { name: "boot".into(), ms: of(boot) }],
            memory: memory.map(|kib| Memory {
                beyond_guest_kib: of(kib),
                guest_kib: of(1.0),
                guest_found: true,
                processes: Vec::new(),
            }),
            ..Row::default()
        }
    }

    fn check(text: &str, before: &Row, now: &Row, expect: Option<(f64, bool)>) {
        let condition: Condition = text.parse().unwrap();
        let got = condition.judge(now, before).map(|c| (c.change_percent, c.fails));
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn more_than_the_limit_fails_and_the_limit_itself_does_not() {
        let before = row(200.0, Some(50.0));
        check("boot.p50>+10%", &before, &row(220.0, None), Some((10.0, false)));
        check("boot.p50>+10%", &before, &row(221.0, None), Some((10.5, true)));
        check("boot.p50>+10%", &before, &row(100.0, None), Some((-50.0, false)));
        check("boot.p50>-60%", &before, &row(100.0, None), Some((-50.0, true)));
        check("p95>+10%", &before, &row(500.0, None), Some((100.0, true)));
        check("memory.p50>0%", &before, &row(1.0, Some(50.0)), Some((0.0, false)));
        check("memory.p50>0%", &before, &row(1.0, None), None);
        check("mount.p50>0%", &before, &before, None);
        check("boot.p50>1%", &row(0.0, None), &row(1.0, None), Some((99900.0, true)));
    }

    #[test]
    fn a_change_is_told_with_both_values() {
        let condition: Condition = "boot.p95>+20%".parse().unwrap();
        let change = condition.judge(&row(812.3, None), &row(600.0, None)).unwrap();
        let expect =
            "s: boot.p95 is 812.3 ms, +35.4% against 600.0 ms in the baseline, allowed are +20%";
        assert_eq!(change.text(), expect);
    }

    #[test]
    fn a_baseline_must_have_what_is_asked_about() {
        let baseline = Report { supervisors: vec![row(1.0, None)], ..Report::default() };
        let check = |text: &str, supervisor: &str, says: Option<&str>| {
            let condition: Condition = text.parse().unwrap();
            let got = super::check(&[condition], &baseline, &[supervisor.to_owned()]);
            match (got, says) {
                (Ok(()), None) => {}
                (Err(failure), Some(says)) => {
                    let told = format!("{} {:?}", failure.message, failure.hint);
                    assert!(told.contains(says) && failure.kind == "usage", "{told}");
                }
                (got, _) => panic!("{text} {supervisor}: {got:?}"),
            }
        };
        check("p50>1%", "s", None);
        check("boot.p50>1%", "s", None);
        check("p50>1%", "t", Some("it has: s"));
        check("bot.p50>1%", "s", Some("no bot.p50"));
        check("bot.p50>1%", "s", Some("total, boot"));
        check("memory.p50>1%", "s", Some("no memory.p50"));
    }
}
