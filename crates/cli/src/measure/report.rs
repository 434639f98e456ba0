//! What was measured, as `--json` prints it and `--baseline` reads it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::condition::{Change, Condition};
use super::outcome::{Difference, Ran, ReportedOutcome, differences};
use super::rounds::{Measured, Rounds};
use super::statistics::Summary;
use crate::failure::Failure;

/// Version of this form; no other is read.
const VERSION: u32 = 1;

/// Longest baseline that is read, in bytes.
const MAX_BASELINE: u64 = 64 << 20;

/// What was measured. Its JSON form is part of the command-line interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// Version of this form.
    pub(crate) version: u32,
    /// Which image, as it was asked for.
    pub(crate) image: String,
    /// Digest of its manifest.
    pub(crate) digest: Option<String>,
    /// What was run, as it was asked for.
    pub(crate) command: String,
    /// Guest memory in MiB.
    pub(crate) memory_mib: u32,
    /// Number of vCPUs.
    pub(crate) cpus: u32,
    /// How many rounds counted.
    pub(crate) iterations: u32,
    /// How many went before them.
    pub(crate) warm_up: u32,
    /// One row for each supervisor, in the order in which they were named.
    pub(crate) supervisors: Vec<Row>,
    /// In what the first outcomes of supervisors differ from that of the first of them.
    pub(crate) differences: Vec<Difference>,
    /// In what outcomes on one supervisor differ from its first.
    pub(crate) unsteady: Vec<Difference>,
    /// What became of the conditions.
    pub(crate) changes: Vec<Change>,
    /// What is wrong, in one line.
    pub(crate) error: Option<Failure>,
}

/// What was measured on one supervisor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// The supervisor as it was named.
    pub(crate) supervisor: String,
    /// The backend that it is, as far as that was found out.
    pub(crate) backend: Option<String>,
    /// What runs guests there.
    pub(crate) backend_reason: Option<String>,
    /// How many runs are counted.
    pub(crate) runs: usize,
    /// All phases together, in milliseconds.
    pub(crate) total_ms: Option<Summary>,
    /// Each phase.
    pub(crate) phases: Vec<MeasuredPhase>,
    /// Memory, where it could be seen.
    pub(crate) memory: Option<Memory>,
    /// How the first run that counts ended.
    pub(crate) outcome: Option<ReportedOutcome>,
    /// Why it was not run to the end.
    pub(crate) error: Option<Failure>,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasuredPhase {
    /// Its name.
    pub(crate) name: String,
    /// Its duration in milliseconds.
    pub(crate) ms: Summary,
}

/// What memory the processes of a machine took when its command had ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// All but the guest's, in KiB.
    pub(crate) beyond_guest_kib: Summary,
    /// The guest's, as far as it is there, in KiB.
    pub(crate) guest_kib: Summary,
    /// Whether the guest's was recognised; if not, it may count as beyond.
    pub(crate) guest_found: bool,
    /// What each process takes beyond the guest's, in the order of the machine.
    pub(crate) processes: Vec<MeasuredProcess>,
}

/// What memory one process took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasuredProcess {
    /// What it is: `monitor`, `guard`, `vsock`.
    pub(crate) role: String,
    /// All but the guest's, in KiB.
    pub(crate) beyond_guest_kib: Summary,
}

impl Report {
    /// Sums up what was measured.
    pub(super) fn of(measured: Vec<Measured>, rounds: &Rounds) -> Self {
        let last = measured.iter().map(|one| &one.report).rfind(|r| r.image.digest.is_some());
        let resources = measured.first().map(|one| &one.report.resources);
        Self {
            version: VERSION,
            image: last.map(|report| report.image.reference.clone()).unwrap_or_default(),
            digest: last.and_then(|report| report.image.digest.clone()),
            command: command(rounds),
            memory_mib: resources.map_or(0, |resources| resources.memory_mib),
            cpus: resources.map_or(0, |resources| resources.cpus),
            iterations: rounds.count,
            warm_up: rounds.warm_up,
            differences: between(&measured),
            unsteady: measured.iter().flat_map(|one| one.unsteady.clone()).collect(),
            error: failed(&measured),
            supervisors: measured.into_iter().map(Row::of).collect(),
            changes: Vec::new(),
        }
    }

    /// Reads what an earlier call printed.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let usage = |why: String| {
            Failure::usage(format!("--baseline {}: {why}", path.display()))
                .with_hint("give what an earlier call printed with --json")
        };
        let mut text = Vec::new();
        let file = File::open(path).map_err(|e| usage(e.to_string()))?;
        file.take(MAX_BASELINE).read_to_end(&mut text).map_err(|e| usage(e.to_string()))?;
        let report: Self = serde_json::from_slice(&text).map_err(|e| usage(e.to_string()))?;
        if report.version != VERSION {
            return Err(usage(format!("version {}, expected {VERSION}", report.version)));
        }
        Ok(report)
    }

    /// Holds it against a baseline.
    pub(super) fn judge(&mut self, conditions: &[Condition], baseline: &Report) {
        let ran = self.supervisors.iter().filter(|row| row.error.is_none());
        let pairs: Vec<_> =
            ran.filter_map(|now| Some((now, baseline.row(&now.supervisor)?))).collect();
        let changes = conditions
            .iter()
            .flat_map(|condition| pairs.iter().filter_map(|(now, old)| condition.judge(now, old)));
        self.changes = changes.collect();
        let failing: Vec<_> = self.changes.iter().filter(|c| c.fails).map(Change::text).collect();
        if self.error.is_none() && !failing.is_empty() {
            let message = failing.join("; ");
            self.error = Some(Failure { kind: "changed".into(), message, hint: None });
        }
    }

    /// The row of a supervisor.
    pub(super) fn row(&self, supervisor: &str) -> Option<&Row> {
        self.supervisors.iter().find(|row| row.supervisor == supervisor)
    }
}

impl Row {
    fn of(measured: Measured) -> Self {
        let Measured { supervisor, report, phases, footprints, outcome, unsteady: _, error } =
            measured;
        let total = |run: &Vec<microagent_workspace::Phase>| run.iter().map(|p| p.ms).sum();
        let names = phases.first().into_iter().flatten().map(|phase| phase.name);
        let of = |name: &str| {
            let all = phases.iter().flatten().filter(|phase| phase.name == name);
            Summary::of(all.map(|phase| phase.ms))
        };
        Self {
            supervisor,
            backend: report.backend,
            backend_reason: report.backend_reason,
            runs: phases.len(),
            total_ms: Summary::of(phases.iter().map(total)),
            phases: names
                .filter_map(|name| Some(MeasuredPhase { name: name.to_owned(), ms: of(name)? }))
                .collect(),
            memory: memory(&footprints),
            outcome: outcome.as_ref().map(ReportedOutcome::from),
            error,
        }
    }

    /// Everything that a condition can be about, in words.
    pub(super) fn quantities(&self) -> String {
        let total = self.total_ms.iter().map(|_| "total");
        let memory = self.memory.iter().map(|_| "memory");
        let phases = self.phases.iter().map(|phase| &*phase.name);
        let all: Vec<_> = total.chain(phases).chain(memory).collect();
        format!("it has: {}", all.join(", "))
    }
}

fn memory(footprints: &[microagent_workspace::Footprint]) -> Option<Memory> {
    let kib = |of: &dyn Fn(&microagent_workspace::Footprint) -> u64| {
        Summary::of(footprints.iter().map(|footprint| of(footprint) as f64))
    };
    let process = |index: usize, role: &str| {
        let all = footprints.iter().filter_map(|footprint| footprint.processes.get(index));
        let beyond_guest_kib = Summary::of(all.map(|process| process.beyond_guest_kib as f64))?;
        Some(MeasuredProcess { role: role.to_owned(), beyond_guest_kib })
    };
    let roles = footprints.first()?.processes.iter().map(|process| &*process.role).enumerate();
    Some(Memory {
        beyond_guest_kib: kib(&|footprint| footprint.beyond_guest_kib())?,
        guest_kib: kib(&|footprint| footprint.guest_kib())?,
        guest_found: footprints.iter().all(|footprint| footprint.guest_found),
        processes: roles.filter_map(|(index, role)| process(index, role)).collect(),
    })
}

/// In what the first outcome of each differs from that of the first that has one.
fn between(measured: &[Measured]) -> Vec<Difference> {
    let mut ran = measured.iter().filter_map(|one| {
        let outcome = one.outcome.as_ref()?;
        Some(Ran { supervisor: &one.supervisor, round: 1, outcome })
    });
    let Some(first) = ran.next() else { return Vec::new() };
    ran.flat_map(|other| differences(first, other)).collect()
}

fn failed(measured: &[Measured]) -> Option<Failure> {
    let failed: Vec<_> =
        measured.iter().filter_map(|one| Some((one, one.error.as_ref()?))).collect();
    let (one, first) = failed.first()?;
    let Failure { kind, message, hint } = first;
    let more = match failed.len() {
        1 => String::new(),
        count => format!(" (and {} more of {})", count - 1, measured.len()),
    };
    let message = format!("it could not be run on {}{more}: {message}", one.supervisor);
    Some(Failure { kind: kind.clone(), message, hint: hint.clone() })
}

/// What was asked to be run, as one would type it.
fn command(rounds: &Rounds) -> String {
    let args = &rounds.run;
    let skip = usize::from(args.image.is_none());
    let words = args.positional.iter().skip(skip);
    match (&args.exec, &args.entrypoint) {
        (Some(line), _) => line.clone(),
        (None, Some(entrypoint)) => {
            let words = std::iter::once(entrypoint.clone()).chain(words.cloned());
            words.collect::<Vec<_>>().join(" ")
        }
        (None, None) => shell_words::join(words),
    }
}

#[cfg(test)]
mod tests {
    use microagent_workspace::{Footprint, Phase, ProcessFootprint};

    use super::*;

    fn measured(runs: &[(f64, u64)]) -> Measured {
        let process = |role: &str, beyond_guest_kib| ProcessFootprint {
            role: role.into(),
            beyond_guest_kib,
            guest_kib: 9,
        };
        Measured {
            supervisor: "s".into(),
            phases: runs
                .iter()
                .map(|(ms, _)| {
                    vec![Phase { name: "boot", ms: *ms }, Phase { name: "mount", ms: 1.0 }]
                })
                .collect(),
            footprints: runs
                .iter()
                .map(|(_, kib)| Footprint {
                    processes: vec![process("monitor", *kib), process("guard", 7)],
                    guest_found: true,
                })
                .collect(),
            ..Measured::default()
        }
    }

    #[test]
    fn runs_are_summed_up_by_phase_and_process() {
        let row = Row::of(measured(&[(30.0, 100), (10.0, 300), (20.0, 200)]));
        assert_eq!(row.runs, 3);
        assert_eq!(row.total_ms.unwrap().samples, [31.0, 11.0, 21.0]);
        let phases: Vec<_> = row.phases.iter().map(|p| (&*p.name, p.ms.p50, p.ms.p95)).collect();
        assert_eq!(phases, [("boot", 20.0, 30.0), ("mount", 1.0, 1.0)]);
        let memory = row.memory.unwrap();
        assert_eq!((memory.beyond_guest_kib.p50, memory.guest_kib.p50), (207.0, 18.0));
        let of = |p: &MeasuredProcess| (p.role.clone(), p.beyond_guest_kib.p95);
        let processes: Vec<_> = memory.processes.iter().map(of).collect();
        assert_eq!(processes, [("monitor".to_owned(), 300.0), ("guard".to_owned(), 7.0)]);
    }

    #[test]
    fn what_did_not_run_has_no_numbers() {
        let row = Row::of(measured(&[]));
        assert_eq!((row.runs, row.total_ms, row.memory), (0, None, None));
        assert!(row.phases.is_empty());
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("baseline.json");
        let report = Report {
            version: VERSION,
            supervisors: vec![Row::of(measured(&[(0.1, 1), (1e3 / 3.0, 2)]))],
            ..Report::default()
        };
        std::fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        for (text, says) in [("", "EOF"), ("{}", "missing field"), ("[1", "")] {
            std::fs::write(&path, text).unwrap();
            let failure = Report::read(&path).unwrap_err();
            assert!(failure.message.contains(says) && failure.kind == "usage", "{failure:?}");
        }
        let other = Report { version: 2, ..Report::default() };
        std::fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(Report::read(&path).unwrap_err().message.contains("version 2, expected 1"));
        assert!(Report::read(Path::new("/no/such")).unwrap_err().message.contains("/no/such"));
    }
}
