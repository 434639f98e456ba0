//! The probe, run for real.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use microagent_vmm_protocol::{ProbeReport, ProbeVerdict, VERSION};

/// Names the verdict that this host must get: `hardware`, `nested`, `emulated`, `unavailable`.
const EXPECT: &str = "MICROAGENT_EXPECT_PROBE";
/// How long it may take: the guest's own limit, and what a busy host adds.
const LIMIT: Duration = Duration::from_secs(10);

/// The program: where `MICROAGENT_LIBEXEC` says, or where cargo put it.
fn vmm() -> Command {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_microagent-vmm"));
    let named = std::env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    Command::new(named.map_or_else(built, |dir| dir.join("microagent-vmm")))
}

fn probe() -> (ProbeReport, Output) {
    let began = Instant::now();
    let output = vmm().arg("probe").output().unwrap();
    assert!(began.elapsed() < LIMIT, "took {:?}", began.elapsed());
    assert_eq!(output.status.into_raw(), 0, "{output:?}");
    let line = output.stdout.strip_suffix(b"\n").unwrap();
    (serde_json::from_slice(line).unwrap(), output)
}

/// What the host gives away about itself; `None` if nothing.
fn expected() -> Option<ProbeVerdict> {
    if let Ok(name) = std::env::var(EXPECT) {
        return Some(serde_json::from_value(name.into()).unwrap());
    }
    if !fs::exists("/dev/kvm").unwrap() {
        return Some(ProbeVerdict::Unavailable);
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let real = cpuinfo.split_whitespace().any(|word| matches!(word, "svm" | "vmx"));
    (!real).then_some(ProbeVerdict::Emulated)
}

#[test]
fn a_report_is_one_line_and_says_why() {
    let (report, output) = probe();
    assert_eq!(report.version, VERSION);
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(!report.evidence.is_empty() && !report.evidence.ends_with('.'), "{report:?}");
    assert!(!report.evidence.contains('\n'), "{report:?}");
    assert!(Duration::from_millis(report.took_ms) < LIMIT, "{report:?}");
}

#[test]
fn a_hosts_kvm_is_seen_for_what_it_is() {
    let (report, _) = probe();
    eprintln!("probe: {report:?}");
    match expected() {
        Some(ProbeVerdict::Unavailable) if std::env::var_os(EXPECT).is_none() => {
            assert_eq!(report.verdict, ProbeVerdict::Unavailable, "{report:?}");
            let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
            assert!(required.split(',').all(|name| name != "kvm"), "{}", report.evidence);
            eprintln!("SKIP: no guest can be run here: {}", report.evidence);
        }
        Some(verdict) => assert_eq!(report.verdict, verdict, "{report:?}"),
        None => eprintln!("SKIP: {EXPECT} does not say what this host's KVM is"),
    }
}

#[test]
fn it_takes_no_arguments() {
    let output = vmm().args(["probe", "more"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
