//! What was measured, for people.

use super::Report;
use super::outcome::{Difference, Side};
use super::report::{Memory, Row};
use super::statistics::Summary;
use crate::args::Global;
use crate::output::table;

/// Where there is no value.
const NONE: &str = "-";

/// A row for each supervisor, the phases beside each other, and what differs.
pub(crate) fn comparison(report: &Report) -> String {
    let parts = [overview(report), phases(report), footprints(report), outcomes(report)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// What memory each process takes.
pub(crate) fn footprint(report: &Report) -> String {
    let parts = [overview(report), footprints(report)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// What else there is to say, a line each, on standard error.
pub(super) fn notes(report: &Report, baseline: Option<&Report>, global: &Global) -> Vec<String> {
    let mut notes = Vec::new();
    if global.quiet {
        return notes;
    }
    let uncertain = |row: &&Row| row.memory.as_ref().is_some_and(|memory| !memory.guest_found);
    for Row { supervisor, .. } in report.supervisors.iter().filter(uncertain) {
        notes.push(format!(
            "note: {supervisor}: the guest's memory was not recognised and may count as beyond it"
        ));
    }
    for change in report.changes.iter().filter(|change| !change.fails) {
        notes.push(format!("note: {}", change.text()));
    }
    let Some(baseline) = baseline else { return notes };
    let same = [
        ("image", &baseline.digest, &report.digest),
        ("command", &Some(baseline.command.clone()), &Some(report.command.clone())),
    ];
    for (what, before, now) in same.into_iter().filter(|(_, before, now)| before != now) {
        let [before, now] = [before, now].map(|text| text.as_deref().unwrap_or(NONE));
        notes.push(format!("note: the baseline is of another {what}: {before}, not {now}"));
    }
    let size = |report: &Report| format!("{} MiB, {} vCPUs", report.memory_mib, report.cpus);
    if size(baseline) != size(report) {
        let (before, now) = (size(baseline), size(report));
        notes.push(format!("note: the baseline is of another machine: {before}, not {now}"));
    }
    notes
}

fn overview(report: &Report) -> String {
    let row = |row: &Row| {
        let memory = row.memory.as_ref().map(|memory| &memory.beyond_guest_kib);
        let mut cells = vec![row.supervisor.clone(), row.runs.to_string()];
        cells.extend(pair(row.total_ms.as_ref()));
        cells.push(memory.map_or(NONE.into(), |kib| format!("{:.1}", kib.p50 / 1024.0)));
        let code = row.outcome.as_ref().map(|outcome| outcome.exit_code.to_string());
        cells.push(code.unwrap_or(NONE.into()));
        let why =
            row.error.as_ref().map(|e| e.message.lines().next().unwrap_or_default().to_owned());
        cells.push(why.or_else(|| row.backend_reason.clone()).unwrap_or_default());
        cells
    };
    let header =
        ["SUPERVISOR", "RUNS", "P50/ms", "P95/ms", "BEYOND GUEST/MiB", "EXIT CODE", "REASON"];
    table(&header, report.supervisors.iter().map(row).collect())
}

fn phases(report: &Report) -> String {
    let ran: Vec<_> = report.supervisors.iter().filter(|row| row.runs > 0).collect();
    let mut names: Vec<&str> = Vec::new();
    for phase in ran.iter().flat_map(|row| &row.phases) {
        if !names.contains(&&*phase.name) {
            names.push(&phase.name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let line = |name: &str, of: &dyn Fn(&Row) -> Option<Summary>| {
        let cells = ran.iter().flat_map(|row| pair(of(row).as_ref()));
        std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
    };
    let phase = |row: &Row, name: &str| {
        row.phases.iter().find(|phase| phase.name == name).map(|phase| phase.ms.clone())
    };
    let lines = names.iter().map(|name| line(name, &|row| phase(row, name)));
    let total = line("total", &|row| row.total_ms.clone());
    let mut header = vec!["PHASE/ms".to_owned()];
    header.extend(ran.iter().flat_map(|row| [format!("{} P50", row.supervisor), "P95".to_owned()]));
    let header: Vec<_> = header.iter().map(String::as_str).collect();
    table(&header, lines.chain([total]).collect())
}

fn footprints(report: &Report) -> String {
    let rows: Vec<_> = report.supervisors.iter().flat_map(processes).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&["MEMORY/KiB", "PROCESS", "P50", "P95"], rows)
}

fn processes(row: &Row) -> Vec<Vec<String>> {
    let Some(memory) = &row.memory else { return Vec::new() };
    let Memory { beyond_guest_kib, guest_kib, guest_found: _, processes } = memory;
    let line = |what: &str, kib: &Summary| {
        let [p50, p95] = [kib.p50, kib.p95].map(|value| format!("{value:.0}"));
        vec![row.supervisor.clone(), what.to_owned(), p50, p95]
    };
    let each = processes.iter().map(|process| line(&process.role, &process.beyond_guest_kib));
    let sums = [line("together", beyond_guest_kib), line("(guest)", guest_kib)];
    each.chain(sums).collect()
}

fn pair(summary: Option<&Summary>) -> [String; 2] {
    let value = |of: fn(&Summary) -> f64| summary.map_or(NONE.into(), |s| format!("{:.1}", of(s)));
    [value(|s| s.p50), value(|s| s.p95)]
}

/// What the outcomes have in common, or in what they differ.
fn outcomes(report: &Report) -> String {
    let found = report.differences.iter().chain(&report.unsteady);
    let lines: Vec<_> = found.map(difference).collect();
    let ran = report.supervisors.iter().filter(|row| row.outcome.is_some()).count();
    match &*lines {
        [] if report.supervisors.len() < 2 || ran < 2 => String::new(),
        [] => "output and exit code are the same on all that ran it".to_owned(),
        lines => lines.join("\n"),
    }
}

/// `stdout differs at byte 4: "a" on kvm, "b" on qemu`, with digests.
fn difference(difference: &Difference) -> String {
    let Difference { of, offset, left, right } = difference;
    let name = of.replace('_', " ");
    let place = match (offset, &left.sha256) {
        (Some(offset), _) => format!(" at byte {offset}"),
        (None, Some(_)) => " behind what is kept of it".to_owned(),
        (None, None) => String::new(),
    };
    let same = left.supervisor == right.supervisor;
    let [left, right] = [left, right].map(|side| self::side(side, same));
    format!("{name} differs{place}: {left}, {right}")
}

fn side(side: &Side, with_round: bool) -> String {
    let Side { supervisor, round, value, sha256 } = side;
    let place = match with_round {
        true => format!("{supervisor} in round {round}"),
        false => supervisor.clone(),
    };
    match sha256 {
        Some(sum) => {
            let short = sum.get(..12).unwrap_or(sum);
            format!("\"{value}\" (sha256 {short}) on {place}")
        }
        None => format!("{value} on {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::MeasuredPhase;
    use super::*;
    use crate::failure::Failure;

    fn ran(supervisor: &str, boot: f64) -> Row {
        let of = |value: f64| Summary::of([value, value * 2.0]).unwrap();
        Row {
            supervisor: supervisor.into(),
            runs: 2,
            total_ms: Some(of(boot)),
            phases: vec![MeasuredPhase { name: "boot".into(), ms: of(boot) }],
            ..Row::default()
        }
    }

    fn words(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn supervisors_stand_beside_each_other() {
        let report =
            Report { supervisors: vec![ran("a", 1.0), ran("b", 5.0)], ..Report::default() };
        let lines = words(&phases(&report)).iter().map(|line| line.join(" ")).collect::<Vec<_>>();
        let expect =
            ["PHASE/ms a P50 P95 b P50 P95", "boot 1.0 2.0 5.0 10.0", "total 1.0 2.0 5.0 10.0"];
        assert_eq!(lines, expect);
    }

    #[test]
    fn one_that_did_not_run_is_a_row_with_the_reason() {
        let error = Some(Failure::usage("it is not here\nat all"));
        let failed = Row { supervisor: "c".into(), error, ..Row::default() };
        let report = Report { supervisors: vec![ran("a", 1.0), failed], ..Report::default() };
        let text = comparison(&report);
        let row = words(&text)[2].join(" ");
        assert_eq!(row, "c 0 - - - - it is not here");
        assert!(!phases(&report).contains("c P50"));
    }

    #[test]
    fn differences_name_both_sides() {
        let check = |of: &str, offset, sums: Option<&str>, supervisors: [&str; 2], expect: &str| {
            let side = |supervisor: &str, round, value: &str| Side {
                supervisor: supervisor.into(),
                round,
                value: value.into(),
                sha256: sums.map(str::to_owned),
            };
            let [left, right] = supervisors;
            let (left, right) = (side(left, 1, "1"), side(right, 3, "2"));
            let got = difference(&Difference { of: of.into(), offset, left, right });
            assert_eq!(got, expect);
        };
        let expect = "exit code differs: 1 on a, 2 on b";
        check("exit_code", None, None, ["a", "b"], expect);
        let expect = "stdout differs at byte 4: \"1\" (sha256 ab) on a, \"2\" (sha256 ab) on b";
        check("stdout", Some(4), Some("ab"), ["a", "b"], expect);
        let expect = "exit code differs: 1 on a in round 1, 2 on a in round 3";
        check("exit_code", None, None, ["a", "a"], expect);
    }
}
