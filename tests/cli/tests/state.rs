//! State directories that are no good, and programs that share one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Invocation, Sandbox, root, tools};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// A run under a mount of its own at the state directory, which nobody else sees and which
/// goes with it. `then` is a shell line that runs after it, there.
fn mounted(sandbox: &Sandbox, options: &str, call: Invocation, then: &str) -> Invocation {
    fs::create_dir_all(sandbox.state()).unwrap();
    let state = sandbox.state().display();
    let script = format!(
        "mount -t tmpfs -o {options} none {state} || exit 99; \"$@\"; code=$?; cd {state}; {then}; exit $code"
    );
    call.under(&["unshare", "-m", "sh", "-c", &script, "sh"])
}

#[test]
fn one_that_cannot_be_written_is_refused() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["unshare", "mount"]) || !root() {
        return;
    }
    let image = image.reference("plain");
    let run = sandbox.run(&["--image", &image, "--exec", "true"]);
    let outcome = mounted(&sandbox, "ro", run, "ls").output();
    outcome.refuses(125, &["state", "ead-only", "--state-dir"]);
}

#[test]
fn one_that_is_full_is_refused_and_stays_clean() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["unshare", "mount"]) || !root() {
        return;
    }
    let image = image.reference("plain");
    for size in ["64k", "1m", "2m"] {
        let run = sandbox.run(&["--image", &image, "--exec", "true"]);
        let list =
            "ls -A workspaces 1>&2; find . -name '*.tmp' -o -name '*partial*' -o -type s 1>&2";
        let outcome = mounted(&sandbox, &format!("size={size}"), run, list).output();
        outcome.refuses(125, &["o space left"]);
        let stderr = outcome.stderr();
        let last = stderr.lines().last().unwrap_or_default();
        assert!(!last.starts_with('t') && !last.starts_with("./"), "{}", outcome.text());
    }
}

#[test]
fn a_disk_that_fills_up_while_the_guest_writes_is_the_guests_problem() {
    let Some((sandbox, image)) = parts() else { return };
    if !tools(&["unshare", "mount"]) || !root() {
        return;
    }
    let line = "dd if=/dev/zero of=/big bs=1M count=100 conv=fsync; echo $?";
    let run =
        sandbox.run(&["--image", &image.reference("plain"), "--exec", line, "--timeout", "60"]);
    let outcome = mounted(&sandbox, "size=40m", run, "ls -A workspaces 1>&2").output();
    // A disk that cannot take it, as on real hardware; and nothing stays.
    outcome.code(0).prints("1\n").says(&["nput/output error"]);
    assert_eq!(outcome.stderr().lines().count(), 1, "{}", outcome.text());
}

#[test]
fn one_of_a_newer_version_is_refused() {
    let Some((sandbox, image)) = parts() else { return };
    sandbox.call(&["image", "list"]).output().code(0);
    let file = sandbox.state().join("state.json");
    let mut layout: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    layout["version"] = 4711.into();
    fs::write(&file, layout.to_string()).unwrap();
    let image = image.reference("plain");
    let newer = ["4711", "newer"];
    sandbox.run(&["--image", &image, "--exec", "true"]).output().refuses(125, &newer);
    sandbox.run(&["--dry-run", "--image", &image, "true"]).output().refuses(125, &newer);
    sandbox.call(&["image", "list"]).output().refuses(125, &newer);
    fs::write(&file, "{ nonsense").unwrap();
    sandbox.run(&["--image", &image, "true"]).output().refuses(125, &["state.json"]);
}

#[test]
fn one_that_is_a_file_is_refused() {
    let Some((sandbox, image)) = parts() else { return };
    let file = sandbox.write("file", "x");
    let image = image.reference("plain");
    let run =
        sandbox.call(&["run", "--state-dir", file.to_str().unwrap(), "--image", &image, "true"]);
    run.output().refuses(125, &[file.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(file).unwrap(), "x");
}

#[test]
fn the_flag_goes_before_the_variable_and_the_home() {
    let Some((sandbox, _)) = parts() else { return };
    let flag = sandbox.file("by-flag");
    sandbox.call(&["--state-dir", flag.to_str().unwrap(), "image", "list"]).output().code(0);
    assert!(flag.exists() && !sandbox.state().exists());
    sandbox.call(&["image", "list"]).without("MICROAGENT_STATE_DIR").output().code(0);
    assert!(sandbox.file(".microagent").exists(), "in the home directory");
}

#[test]
fn only_the_owner_may_look_into_it() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "echo ready; mkfifo /f; read x < /f";
    let mut live = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]).start();
    live.wait_for("ready\n");
    let find = Command::new("find")
        .arg(sandbox.state())
        .args(["!", "-type", "l", "-perm", "/077", "-printf", "%M %p\\n"])
        .output()
        .unwrap();
    live.signal(rustix::process::Signal::TERM);
    live.finish();
    assert_eq!(String::from_utf8_lossy(&find.stdout), "", "others may look at these");
}

#[test]
fn a_configuration_that_cannot_be_understood_is_named() {
    let Some((sandbox, image)) = parts() else { return };
    sandbox.call(&["image", "list"]).output().code(0);
    let file = sandbox.state().join("config.toml");
    let image = image.reference("plain");
    for text in ["supervisor = \"kvm", "colour = \"blue\"\n", "supervisor = 3\n"] {
        fs::write(&file, text).unwrap();
        sandbox.run(&["--image", &image, "true"]).output().refuses(2, &["config.toml"]);
    }
    // What it says counts where neither flag nor variable does.
    fs::write(&file, "supervisor = \"cloud-hypervisor:colour=blue\"\n").unwrap();
    let run = sandbox.run(&["--image", &image, "true"]).without("MICROAGENT_SUPERVISOR");
    run.output().refuses(2, &["cloud-hypervisor", "colour"]);
}
