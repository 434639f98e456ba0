//! What holds for a monitor while its guest runs.

use std::fs;
use std::process::Command;

use microagent_vmm_protocol::{Reply, Request, VERSION};

use crate::{Fixture, Guest, add_disk, kvm_is_missing, vsock};

#[test]
fn every_thread_is_confined() {
    if kvm_is_missing() {
        return;
    }
    let mut fixture = Fixture::new(&Guest::new().say("up\n").spin());
    fixture.spec.vcpus = 2;
    fixture.spec.rng = true;
    fixture.spec.vsock = Some(vsock("vsock"));
    add_disk(&mut fixture, "disk", 8192);
    let mut monitor = fixture.spawn();
    let mut driver = monitor.connect();
    driver.state(&Request::Start);
    monitor.wait_for("up\n");
    // Threads that KVM makes for itself run no code of any program.
    let mut threads = monitor.threads();
    threads.retain(|status| !status.starts_with("Name:\tkvm-"));
    let name =
        |status: &String| status.lines().next().unwrap().trim_start_matches("Name:\t").to_owned();
    let mut names: Vec<_> = threads.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["io", "microagent-vmm", "vcpu0", "vcpu1"]);
    for status in &threads {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.lines().any(|l| l == line), "no {line} in {status}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", monitor.pid())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max file size"), "8192");
    let Reply::State { landlock, .. } = driver.ask(&Request::State { version: VERSION }) else {
        panic!("no state");
    };
    let supported = microagent_confine::Ruleset::new(&Default::default()).unwrap().is_supported();
    assert_eq!(landlock, supported);
}

/// Not as a call that it may not make, which a handler of faults would.
#[test]
fn a_fault_ends_it_as_what_it_is() {
    if kvm_is_missing() {
        return;
    }
    let check = |name: &str, number| {
        let mut monitor = Fixture::new(&Guest::new().say("up\n").spin()).spawn();
        monitor.connect().state(&Request::Start);
        monitor.wait_for("up\n");
        let kill = Command::new("kill").args([name, &monitor.pid().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(monitor.end().signal, Some(number));
    };
    check("-SEGV", 11);
    check("-BUS", 7);
}
