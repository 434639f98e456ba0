//! `compare`, `perf`, `backends` and `doctor`: what is measured and what is explained.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Invocation, Outcome, Sandbox};
use serde_json::Value;

/// Several machines boot one after the other, under emulation.
const WITHIN: Duration = Duration::from_secs(300);

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// A call of `compare` with one round on each of these.
fn compare(sandbox: &Sandbox, image: &Busybox, supervisors: &[&str]) -> Invocation {
    let image = image.reference("plain");
    let call = sandbox.call(&["compare", "--image", &image, "--iterations", "1", "--warm-up", "0"]);
    supervisors.iter().fold(call, |call, supervisor| call.args(&["--supervisor", supervisor]))
}

fn output(call: Invocation) -> Outcome {
    call.start().finish_within(WITHIN)
}

/// The supervisor of all tests, and a second name for QEMU.
fn two(sandbox: &Sandbox) -> (String, String) {
    let setting = sandbox.setting();
    (setting.supervisor.clone(), setting.qemu.display().to_string())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn strings<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    rows.as_array().unwrap().iter().filter_map(|row| row[key].as_str()).collect()
}

#[test]
fn the_same_on_two_supervisors_is_measured_and_does_not_differ() {
    let Some((sandbox, image)) = parts() else { return };
    let (first, second) = two(&sandbox);
    let line = "hostname; echo err >&2; exit 3";
    let call = compare(&sandbox, image, &[&first, &second]).args(&["--exec", line]);
    let outcome = output(call.args(&["--json", "--memory", "256"]));
    let json = outcome.code(0).is_silent().json();
    assert_eq!(json["version"], 1, "{json}");
    assert_eq!((&json["command"], &json["memory_mib"]), (&line.into(), &256.into()), "{json}");
    assert_eq!(strings(&json["supervisors"], "supervisor"), [&*first, &*second], "{json}");
    for row in json["supervisors"].as_array().unwrap() {
        assert_eq!((&row["runs"], &row["error"]), (&1.into(), &Value::Null), "{row}");
        let names = strings(&row["phases"], "name");
        assert_eq!(names.first(), Some(&"resolve"), "{row}");
        assert!(["boot", "command", "unwind"].iter().all(|name| names.contains(name)), "{row}");
        let phases = row["phases"].as_array().unwrap();
        let sum: f64 = phases.iter().map(|phase| number(&phase["ms"]["p50"])).sum();
        assert!((number(&row["total_ms"]["p95"]) - sum).abs() < 1.0, "{row}");
        let memory = &row["memory"];
        assert_eq!(memory["guest_found"], true, "{row}");
        let roles = strings(&memory["processes"], "role");
        assert!(["monitor", "guard"].iter().all(|role| roles.contains(role)), "{row}");
        // A guest that has booted has touched some of its 256 MiB, and none counts twice.
        let guest = number(&memory["guest_kib"]["p50"]);
        assert!((1024.0..=262_144.0).contains(&guest), "{row}");
        assert!(number(&memory["beyond_guest_kib"]["p50"]) > 0.0, "{row}");
        assert_eq!(row["outcome"]["exit_code"], 3, "{row}");
        assert_eq!(row["outcome"]["stderr"]["bytes"], 4, "{row}");
    }
    assert_eq!(json["differences"], Value::Array(Vec::new()), "{json}");
    assert_eq!(json["error"], Value::Null, "{json}");
}

#[test]
fn everything_that_works_here_runs_the_same() {
    let Some((sandbox, image)) = parts() else { return };
    let mut supervisors = sandbox.working_supervisors();
    supervisors.extend(std::env::var("MICROAGENT_QEMU10").ok().filter(|path| !path.is_empty()));
    let mut call = sandbox.call(&["compare", "--image", &image.reference("plain")]);
    for supervisor in &supervisors {
        call = call.args(&["--supervisor", supervisor]);
    }
    let call = call.args(&["--exec", "echo hi", "--iterations", "5"]);
    let outcome = call.start().finish_within(WITHIN * 4);
    println!("{}", outcome.stdout());
    outcome.code(0).is_silent().shows(&["P50/ms", "P95/ms", "boot", "command", "total", "monitor"]);
    for supervisor in &supervisors {
        outcome.shows(&[supervisor]);
    }
    let same = "output and exit code are the same on all that ran it";
    assert_eq!(outcome.stdout().contains(same), supervisors.len() > 1, "{}", outcome.text());
}

#[test]
fn a_difference_in_output_is_shown_with_both_sides() {
    let Some((sandbox, image)) = parts() else { return };
    let (first, second) = two(&sandbox);
    let line = "echo same; cat /proc/sys/kernel/random/uuid";
    let outcome = output(compare(&sandbox, image, &[&first, &second]).args(&["--exec", line]));
    outcome.code(0).shows(&[&first, &second, "boot", "total", "monitor"]);
    outcome.shows(&["stdout differs at byte ", "sha256"]);
    assert!(!outcome.stdout().contains("same on all"), "{}", outcome.text());
}

#[test]
fn one_that_cannot_run_it_does_not_keep_others_from_it() {
    let Some((sandbox, image)) = parts() else { return };
    let (first, _) = two(&sandbox);
    // It answers as QEMU does and then does something else.
    let script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo QEMU emulator version 7.2.0; \
                  else echo nonsense; exit 3; fi\n";
    let lying = sandbox.script("lie", script);
    let lying = lying.to_str().unwrap();
    let call = compare(&sandbox, image, &[lying, &first]).args(&["--exec", "echo ran"]);
    let outcome = output(call.args(&["--json"]));
    let json = outcome.code(125).json();
    let rows = json["supervisors"].as_array().unwrap();
    assert_eq!((&rows[0]["runs"], &rows[1]["runs"]), (&0.into(), &1.into()), "{json}");
    assert!(rows[0]["error"]["message"].is_string() && rows[1]["error"].is_null(), "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains(lying), "{json}");
}

#[test]
fn a_baseline_passes_or_fails_by_its_conditions() {
    let Some((sandbox, image)) = parts() else { return };
    let (first, _) = two(&sandbox);
    let call = || compare(&sandbox, image, &[&first]).args(&["--exec", "true"]);
    let mut json = output(call().args(&["--json"])).code(0).json();
    let path = sandbox.write("baseline", json.to_string());
    let path = path.to_str().unwrap();
    let with = |conditions: &[&str]| {
        let call = call().args(&["--baseline", path]);
        output(conditions.iter().fold(call, |call, one| call.args(&["--fail-if", one])))
    };
    with(&["p50>+100000%", "boot.p95>+100000%"]).code(0).says(&["boot.p95 is", "in the baseline"]);
    // Once it was a thousand times as fast.
    for phase in json["supervisors"][0]["phases"].as_array_mut().unwrap() {
        phase["ms"]["p95"] = (number(&phase["ms"]["p95"]) / 1e3).into();
    }
    sandbox.write("baseline", json.to_string());
    let outcome = with(&["p50>+100000%", "boot.p95>+20%"]);
    outcome.code(1).says(&["error:", &first, "boot.p95", "allowed are +20%"]);
    outcome.shows(&["boot"]);
    // What it says nothing about is known before anything runs.
    for (condition, named) in [("bot.p50>1%", "bot.p50"), ("p50>x%", "no number")] {
        with(&[condition]).refuses(2, &[named]);
    }
    let other = compare(&sandbox, image, &["qemu"]).args(&["--baseline", path]);
    output(other.args(&["--fail-if", "p50>1%", "true"])).refuses(2, &["'qemu'", &first]);
}

#[test]
fn what_makes_no_sense_for_many_runs_is_refused() {
    let Some((sandbox, image)) = parts() else { return };
    let reference = image.reference("plain");
    let check = |arguments: &[&str], named: &[&str]| {
        let call = sandbox.call(arguments).without("MICROAGENT_SUPERVISOR");
        output(call).refuses(2, named);
    };
    check(&["compare", &reference, "true"], &["no supervisor"]);
    check(&["compare", "--supervisor", "no-such", &reference, "true"], &["no-such"]);
    check(&["compare", "--supervisor", "/no/such", &reference, "true"], &["/no/such"]);
    check(&["compare", "--supervisor", "qemu", "--keep", &reference], &["--keep", "compare"]);
    let to = ["--output", "n=/x", "--output-dir", "there"];
    let outputs = [&["compare", "--supervisor", "qemu"][..], &to, &[reference.as_str()]].concat();
    check(&outputs, &["--output-dir", "compare"]);
    let written = ["compare", "--supervisor", "qemu", "--disk", "d=/x:/d:rw", &reference, "true"];
    check(&written, &["--disk with rw", "compare"]);
    let written = ["compare", "--supervisor", "qemu", "-v", "data:/d", &reference, "true"];
    check(&written, &["--volume without ro", "compare"]);
    check(&["compare", "--supervisor", "qemu", "--iterations", "0", &reference], &["0"]);
    check(&["compare", "--supervisor", "qemu", "--fail-if", "p50>1%", &reference], &["--baseline"]);
    check(&["run", "--supervisor", "a", "--supervisor", "b", &reference], &["more than once"]);
    check(&["perf", "boot"], &["no image"]);
    check(&["perf", "boot", &reference, "ls"], &["'true'"]);
    assert!(!sandbox.state().exists(), "refusing makes nothing");
}

#[test]
fn a_boot_is_measured_on_the_smallest_image_that_is_here() {
    let Some((sandbox, image)) = parts() else { return };
    let once = ["--iterations", "1", "--warm-up", "0"];
    let call = sandbox.call(&["perf", "boot", "--json"]).args(&once);
    let json = output(call.args(&[image.reference("plain")])).code(0).json();
    let rows = json["supervisors"].as_array().unwrap();
    assert_eq!((rows.len(), &json["command"]), (1, &"true".into()), "{json}");
    assert!(strings(&rows[0]["phases"], "name").contains(&"boot"), "{json}");
    let outcome = output(sandbox.call(&["perf", "footprint"]).args(&once));
    outcome.code(0).shows(&["monitor", "guard", "together", "(guest)"]);
}

#[test]
fn backends_are_shown_with_what_they_can_do_or_why_they_cannot() {
    let Some(sandbox) = Sandbox::new() else { return };
    let tcg = "qemu:accel=tcg";
    let list = sandbox.call(&["backends", "list"]).output();
    list.code(0).is_silent().shows(&["kvm", tcg, "read-only-disk", "landlock", "emulated"]);
    let json = sandbox.call(&["backends", "probe", tcg, "--json"]).output().code(0).json();
    let found = &json["backends"][0];
    assert_eq!((&found["supervisor"], &found["available"]), (&tcg.into(), &true.into()), "{json}");
    assert_eq!(found["capabilities"]["acceleration"]["kind"], "emulated", "{json}");
    let empty = sandbox.file("empty");
    fs::create_dir(&empty).unwrap();
    let bare = |arguments: &[&str]| sandbox.call(arguments).env("PATH", &empty).output();
    bare(&["backends", "probe", tcg]).code(1).shows(&["qemu-system-x86_64", "hint:"]);
    let json = bare(&["backends", "list", "--json"]).code(0).json();
    let names = strings(&json["backends"], "supervisor");
    let at = names.iter().position(|name| *name == tcg).unwrap();
    let error = &json["backends"][at]["error"];
    assert_eq!(error["kind"], "unavailable", "{json}");
    assert!(error["hint"].is_string(), "{json}");
    bare(&["backends", "probe", "no-such"]).refuses(2, &["no-such"]);
    assert!(!sandbox.state().exists(), "looking makes nothing");
}

#[test]
fn a_doctor_finds_what_is_missing_and_says_what_to_do() {
    let Some(sandbox) = Sandbox::new() else { return };
    let finding = |json: &Value, name: &str| {
        let findings = json["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["name"] == name).unwrap().clone()
    };
    let outcome = sandbox.call(&["doctor", "--json"]).output();
    let json = outcome.code(0).is_silent().json();
    assert!(json["verdict"] == "ok" || json["verdict"] == "degraded", "{json}");
    for name in ["qemu", "passt", "supervisor", "monitor", "agent"] {
        assert_eq!(finding(&json, name)["verdict"], "ok", "{json}");
    }
    let empty = sandbox.file("empty");
    fs::create_dir(&empty).unwrap();
    let call = |arguments: &[&str]| {
        let call = sandbox.call(arguments).env("PATH", &empty).without("MICROAGENT_KERNEL");
        call.without("MICROAGENT_SUPERVISOR").output()
    };
    let json = call(&["doctor", "--json"]).code(1).json();
    assert_eq!(json["verdict"], "failed", "{json}");
    for (name, verdict, remedy) in [
        ("kernel", "failed", "microagent kernel"),
        ("qemu", "degraded", "install QEMU"),
        ("passt", "degraded", "install passt"),
    ] {
        let finding = finding(&json, name);
        assert_eq!(finding["verdict"], verdict, "{finding}");
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{finding}");
    }
    call(&["doctor"]).code(1).is_silent().shows(&["verdict: failed", "kernel"]);
    assert!(!sandbox.state().exists(), "looking makes nothing");
}
