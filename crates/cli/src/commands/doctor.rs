//! `doctor`: what keeps machines from running here, or makes them slow, and what to do.

mod checks;
mod host;

use microagent_workspace::StateDir;
use serde::Serialize;
use serde_json::json;

use super::backends;
use crate::args::{DoctorArgs, Global};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::tools;

/// How something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Machines run, but slower, or with less around them.
    Degraded,
    /// No machine can run.
    Failed,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// The thing.
    name: &'static str,
    /// How it is.
    verdict: Verdict,
    /// What was found.
    detail: String,
    /// What to do, where there is something.
    remedy: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into(), remedy: None }
    }

    fn degraded(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (detail, remedy) = (detail.into(), Some(remedy.into()));
        Self { name, verdict: Verdict::Degraded, detail, remedy }
    }

    fn failed(name: &'static str, detail: impl Into<String>, remedy: Option<String>) -> Self {
        Self { name, verdict: Verdict::Failed, detail: detail.into(), remedy }
    }
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

pub(crate) async fn run(args: DoctorArgs, global: &Global) -> Result<u8, Failure> {
    let path = tools::state_path(global)?;
    let findings = match StateDir::peek(&path) {
        Ok(state) => look(&args, &state).await,
        // Whatever else there is cannot be reached.
        Err(e) => {
            let failure = Failure::from(e);
            vec![Finding::failed("state", failure.message, failure.hint)]
        }
    };
    let verdict = worst(&findings);
    if global.json {
        print_json(&json!({ "verdict": verdict, "findings": findings }));
    } else {
        print(&text(verdict, &findings));
    }
    Ok(u8::from(verdict == Verdict::Failed))
}

async fn look(args: &DoctorArgs, state: &StateDir) -> Vec<Finding> {
    let found = backends::all(&tools::registry(state)).await;
    let mut findings = vec![checks::kvm(&found)];
    findings.extend(checks::hypervisors(&found));
    findings.push(checks::passt());
    findings.push(checks::supervisor(&found, state).await);
    findings.push(checks::monitor(tools::monitor()).await);
    findings.push(checks::agent());
    findings.push(checks::kernel(args.kernel.as_deref(), state));
    findings.push(host::state(state.path()));
    findings.push(host::landlock());
    findings.push(host::memory());
    findings
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

fn text(verdict: Verdict, findings: &[Finding]) -> String {
    let row = |f: &Finding| vec![f.name.into(), f.verdict.name().into(), f.detail.clone()];
    let rows = findings.iter().map(row).collect();
    let mut lines = vec![table(&["WHAT", "VERDICT", "FOUND"], rows), String::new()];
    for finding in findings {
        lines.extend(finding.remedy.iter().map(|remedy| format!("{}: {remedy}", finding.name)));
    }
    lines.push(format!("verdict: {}", verdict.name()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let ok = || Finding::ok("a", "x");
        let degraded = || Finding::degraded("b", "y", "z");
        let check = |findings: &[Finding], expect| assert_eq!(worst(findings), expect);
        check(&[], Verdict::Ok);
        check(&[ok(), ok()], Verdict::Ok);
        check(&[ok(), degraded()], Verdict::Degraded);
        check(&[Finding::failed("c", "v", None), degraded(), ok()], Verdict::Failed);
    }

    #[test]
    fn remedies_stand_below_the_table() {
        let findings = [Finding::ok("a", "fine"), Finding::degraded("b", "not so", "do this")];
        let told = text(Verdict::Degraded, &findings);
        let lines: Vec<_> = told.lines().skip(3).collect();
        assert_eq!(lines, ["", "b: do this", "verdict: degraded"]);
    }
}
