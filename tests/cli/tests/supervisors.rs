//! `--supervisor`: names, options, and paths to what is and is not a hypervisor.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Outcome, Sandbox, missing, tools};
use serde_json::Value;

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

fn with(sandbox: &Sandbox, image: &Busybox, supervisor: &str) -> Outcome {
    let image = image.reference("plain");
    let run = sandbox.run(&["--supervisor", supervisor, "--image", &image, "--exec", "echo ran"]);
    run.start().finish_within(Duration::from_secs(60))
}

fn script(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    sandbox.script(name, text)
}

#[test]
fn qemu_is_taken_by_name_by_option_and_by_path() {
    let Some((sandbox, image)) = parts() else { return };
    let qemu = sandbox.setting().qemu.display().to_string();
    with(&sandbox, image, "qemu:accel=tcg").code(0).prints("ran\n");
    with(&sandbox, image, &qemu).code(0).prints("ran\n");
    // What it is is found by asking it, not by its name.
    let other = sandbox.file("by-another-name");
    std::os::unix::fs::symlink(&qemu, &other).unwrap();
    with(&sandbox, image, other.to_str().unwrap()).code(0).prints("ran\n");
}

#[test]
fn cloud_hypervisor_is_taken_by_name_and_by_path() {
    let Some((sandbox, image)) = parts() else { return };
    let name = "cloud-hypervisor";
    if !sandbox.working_supervisors().iter().any(|working| working == name) {
        return eprintln!("SKIP: {name}: it does not run machines here");
    }
    with(&sandbox, image, name).code(0).prints("ran\n");
    let path = std::env::var_os("PATH").unwrap();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(name));
    let file = files.find(|file| file.is_file()).unwrap();
    with(&sandbox, image, file.to_str().unwrap()).code(0).prints("ran\n");
}

#[test]
fn another_version_of_qemu_runs_the_same_things() {
    let Some((sandbox, image)) = parts() else { return };
    let Some(qemu) = std::env::var("MICROAGENT_QEMU10").ok().filter(|path| !path.is_empty()) else {
        return missing("qemu10", "MICROAGENT_QEMU10 names none");
    };
    with(&sandbox, image, &qemu).code(0).prints("ran\n");
    let image = image.reference("plain");
    let line = "cat; echo err >&2; kill -9 $$";
    let run = sandbox.run(&["-i", "--json", "--supervisor", &qemu, "--image", &image]);
    let outcome = run.args(&["--exec", line]).reads("through").output();
    assert_eq!(outcome.code(137).json()["result"]["stdout"], "through");
}

#[test]
fn auto_finds_one_and_says_why_when_asked() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = |flags: &[&str]| {
        let run = sandbox.run(flags).args(&["--image", &image, "--exec", "echo ran"]);
        run.without("MICROAGENT_SUPERVISOR").output()
    };
    let found = sandbox.call(&["backends", "list", "--json"]).output().code(0).json();
    let found = found["backends"].as_array().unwrap();
    let name = |one: &Value| {
        let supervisor = one["supervisor"].as_str().unwrap();
        supervisor.split(':').next().unwrap().to_owned()
    };
    let at = found.iter().position(|one| one["available"] == true).unwrap();
    let taken = name(&found[at]);
    let outcome = run(&["-v"]);
    outcome.code(0).prints("ran\n");
    outcome.says(&[&format!("backend={taken:?} reason=\"the first that works and can run this")]);
    // Each that was passed over, with what keeps it from working.
    for one in found[..at].iter().filter(|one| name(one) != taken) {
        let why = one["error"]["message"].as_str().unwrap();
        // Behind the first digit stands what was measured, which is new each time.
        let why = why.split(|c: char| c.is_ascii_digit()).next().unwrap();
        outcome.says(&[&format!("backend={:?} reason=\"{why}", name(one))]);
    }
    let unasked = run(&[]);
    unasked.code(0).prints("ran\n");
    assert!(!unasked.stderr().contains("the first that works"), "{}", unasked.text());
}

#[test]
fn more_than_there_can_be_is_refused_at_once_and_the_limit_itself_runs() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["mke2fs"]) {
        return;
    }
    let working = sandbox.working_supervisors().into_iter();
    let (qemu, others): (Vec<_>, Vec<_>) = working.partition(|name| name.starts_with("qemu"));
    let disk = |n: usize| {
        let path = sandbox.file(&format!("{n}.ext4"));
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        assert!(mke2fs.args(["-q", "-t", "ext4"]).arg(&path).arg("4M").status().unwrap().success());
        format!("d{n}={}:/d{n}:ro", path.display())
    };
    let disks: Vec<_> = (0..6).map(disk).collect();
    let run = |network: &str, count: usize, memory: &str| {
        let run = sandbox.run(&["--supervisor", &qemu[0], "--network", network]);
        let run = run.args(&["--memory", memory]);
        let run = disks[..count].iter().fold(run, |run, disk| run.args(&["--disk", disk]));
        let line = "grep -c ' /d[0-9] ' /proc/mounts";
        run.args(&["--image", &image.reference("plain"), "--exec", line]).output()
    };
    // Of eight slots the image's disk, the socket and the source of entropy take three, and the
    // network one; where all are wanted, the image takes no second one.
    run("user", 4, "256").code(0).prints("4\n");
    run("user", 5, "256").refuses(125, &["disks beside a network: 7 asked for, at most 5 here"]);
    run("isolated", 5, "256").code(0).prints("5\n");
    let lacking = ["disks: 8 asked for, at most 6 here", "memory: 2097152 asked for, at most "];
    run("isolated", 6, "2048G").refuses(125, &lacking);
    let outcome = run("isolated", 6, "256");
    outcome.refuses(125, &lacking[..1]);
    let who = match others.first() {
        Some(other) => format!("can: --supervisor {other}"),
        None => "no other supervisor that works here can either".to_owned(),
    };
    outcome.says(&[&who]);
}

/// The base disk of an image, which nobody writes to.
#[test]
fn machines_of_all_supervisors_share_one_disk() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let supervisors = sandbox.working_supervisors();
    // Each of them before and behind each other, and itself.
    let order = supervisors.iter().chain(&supervisors);
    let started = order.map(|supervisor| {
        let run = sandbox.run(&["-i", "--supervisor", supervisor, "--memory", "128"]);
        let run = run.args(&["--image", &image, "--exec", "echo here; cat"]);
        let mut live = run.reads_later().start();
        live.wait_for("here\n");
        live
    });
    for mut live in started.collect::<Vec<_>>() {
        live.close_stdin();
        live.finish().code(0).prints("here\n");
    }
}

#[test]
fn paths_that_are_no_hypervisor_are_refused() {
    let Some((sandbox, image)) = parts() else { return };
    let text = sandbox.write("text", "hello\n").display().to_string();
    let executable_text = script(&sandbox, "executable", "hello\n").display().to_string();
    let plugin = script(&sandbox, "plugin.so", "x").display().to_string();
    let other = script(&sandbox, "other", "#!/bin/sh\necho GNU tools 1.0\n").display().to_string();
    let silent = script(&sandbox, "silent", "#!/bin/sh\n").display().to_string();
    let crashing = script(&sandbox, "crash", "#!/bin/sh\nkill -SEGV $$\n").display().to_string();
    let cases: [(&str, &str); 8] = [
        ("/no/such/qemu", "does not exist"),
        ("/", "directory"),
        (&text, "not executable"),
        (&executable_text, "executable"),
        ("/bin/true", "no hypervisor"),
        (&other, "GNU tools 1.0"),
        (&silent, "no hypervisor"),
        (&crashing, "no hypervisor"),
    ];
    for (path, named) in cases {
        with(&sandbox, image, path).refuses(2, &[path, named]);
        assert!(!sandbox.state().exists(), "a state directory was made for {path}");
    }
    with(&sandbox, image, &plugin).refuses(2, &["plugin", "cannot be loaded"]);
}

#[test]
fn programs_that_hang_or_flood_are_given_up() {
    let Some((sandbox, image)) = parts() else { return };
    let hanging = script(&sandbox, "hang", "#!/bin/sh\nexec sleep 1000\n");
    let outcome = with(&sandbox, image, hanging.to_str().unwrap());
    outcome.refuses(125, &[hanging.to_str().unwrap()]);
    assert!(outcome.took < Duration::from_secs(10), "{}", outcome.text());
    let flooding = script(&sandbox, "flood", "#!/bin/sh\nexec yes a flood of lines\n");
    let outcome = with(&sandbox, image, flooding.to_str().unwrap());
    outcome.refuses(2, &[flooding.to_str().unwrap()]);
    // It answers as QEMU does and then does something else.
    let lying = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo QEMU emulator version 7.2.0; \
                 else echo nonsense; exit 3; fi\n";
    let lying = script(&sandbox, "lie", lying);
    let outcome = with(&sandbox, image, lying.to_str().unwrap());
    outcome.refuses(125, &[]);
}

#[test]
fn a_missing_qemu_is_told_with_what_to_do() {
    let Some((sandbox, image)) = parts() else { return };
    let empty = sandbox.file("empty");
    fs::create_dir(&empty).unwrap();
    let image = image.reference("plain");
    let call = |arguments: &[&str]| sandbox.call(arguments).env("PATH", &empty).output();
    let json = call(&["backends", "list", "--json"]).code(0).json();
    let others = json["backends"].as_array().unwrap().iter().any(|one| one["available"] == true);
    for supervisor in ["auto", "qemu"] {
        if supervisor == "auto" && others {
            eprintln!("SKIP: auto: something else runs machines here");
            continue;
        }
        let outcome = call(&["run", "--supervisor", supervisor, "--image", &image, "true"]);
        outcome.refuses(125, &["qemu-system-x86_64", "hint:"]);
    }
}
