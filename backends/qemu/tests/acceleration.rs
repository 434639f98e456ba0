//! What the QEMU driver makes of this host's KVM, with a real QEMU and the real probe.
//!
//! Needs QEMU in `PATH` and a built `microagent-vmm`.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use microagent_backend::{Acceleration, Backend, ErrorKind, Result};
use microagent_qemu::{Accel, QemuBackend, QemuOptions};
use microagent_vmm_protocol::{ProbeReport, ProbeVerdict};

/// Where cargo, or `MICROAGENT_LIBEXEC`, has the program.
fn monitor() -> Option<PathBuf> {
    let named = std::env::var_os("MICROAGENT_LIBEXEC").map(PathBuf::from);
    let exe = std::env::current_exe().unwrap();
    let places = named.into_iter().chain(exe.parent().and_then(Path::parent).map(Path::to_owned));
    places.map(|dir| dir.join("microagent-vmm")).find(|path| path.is_file())
}

fn qemu() -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places).map(|d| d.join("qemu-system-x86_64")).find(|p| p.is_file())
}

/// Both programs, or a word why not.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let found = monitor().zip(qemu());
    if found.is_none() {
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(required.split(',').all(|r| !matches!(r.trim(), "qemu" | "all")));
        eprintln!("SKIP: no qemu-system-x86_64 in PATH, or no microagent-vmm beside this test");
    }
    found
}

fn report_of(monitor: &Path) -> ProbeReport {
    let output = Command::new(monitor).arg("probe").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn kvm_is_used_where_its_guest_was_run_by_the_processor() {
    let Some((monitor, qemu)) = programs() else { return };
    let report = report_of(&monitor);
    let cache = tempfile::tempdir().unwrap();
    let ask = async |accel| -> Result<Acceleration> {
        let backend = QemuBackend::new(QemuOptions {
            program: Some(qemu.clone()),
            accel,
            monitor: monitor.clone(),
            cache_dir: Some(cache.path().to_owned()),
            ..QemuOptions::default()
        });
        backend.probe().await.map(|capabilities| capabilities.acceleration)
    };
    let remembered = cache.path().join("kvm.json");
    assert_eq!(ask(Accel::Tcg).await.unwrap().name(), "emulated");
    assert!(!remembered.exists(), "looked at KVM for a machine without it");
    let expect = match report.verdict {
        ProbeVerdict::Hardware => Some("hardware"),
        ProbeVerdict::Nested => Some("nested"),
        ProbeVerdict::Emulated | ProbeVerdict::Unavailable => None,
    };
    assert_eq!(ask(Accel::Auto).await.unwrap().name(), expect.unwrap_or("emulated"));
    match (ask(Accel::Kvm).await, expect) {
        (Ok(acceleration), Some(expect)) => assert_eq!(acceleration.name(), expect),
        (Err(error), None) => {
            assert_eq!(error.kind, ErrorKind::Unavailable);
            // What stands before the measured speed is the same each time.
            let why = report.evidence.split(", and").next().unwrap();
            assert!(error.message.contains(why), "{error} {report:?}");
            assert!(error.hint.unwrap().contains("accel=tcg"));
        }
        (got, _) => panic!("{got:?}, but the probe says {report:?}"),
    }
    let known = fs::read_to_string(&remembered).is_ok_and(|text| text.contains("evidence"));
    assert_eq!(known, report.verdict != ProbeVerdict::Unavailable);
}
