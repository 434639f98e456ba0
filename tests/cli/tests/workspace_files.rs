//! Workspaces on disks that are full or not to be written, and files of other versions and times.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Invocation, Sandbox, root, tools};
use serde_json::Value;

/// A script under a mount of its own at the state directory; the program is `$0`, the image
/// `$1`.
fn mounted(sandbox: &Sandbox, image: &str, options: &str, script: &str) -> Option<Invocation> {
    if !tools(&["unshare", "mount"]) || !root() {
        return None;
    }
    fs::create_dir_all(sandbox.state()).unwrap();
    let state = sandbox.state().display();
    let program = sandbox.setting().program.display();
    let script = format!(
        "mount -t tmpfs -o {options} none {state} || exit 99; cd {state}; m() {{ '{program}' \"$@\"; }}; \
         i='{image}'; {script}"
    );
    Some(sandbox.call(&[]).under(&["unshare", "-m", "sh", "-c", &script, "sh"]))
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let image = image.reference("plain");
    let small = mounted(
        &sandbox,
        &image,
        "size=2m",
        "m create --name full --image $i; echo $?; m list --quiet; find . -name '*.tmp'",
    );
    let Some(small) = small else { return };
    let outcome = small.output();
    outcome.code(0).prints("125\n").says(&["o space left", "hint:"]);
    let fills = "m create --name w --image $i && m start --wait w && m exec w sh -c 'echo here >/kept' \
                 && m halt w || exit 1; \
                 dd if=/dev/zero of=fill bs=4k 2>/dev/null; \
                 m start --wait w; echo $?; \
                 rm fill; m start --wait w && m exec w cat /kept; m delete -f w; ls workspaces";
    let outcome = mounted(&sandbox, &image, "size=96m", fills).unwrap().output();
    outcome.code(0).prints("w\nw\nw\n125\nw\nhere\nw\n").says(&["o space left"]);
}

#[test]
fn a_state_directory_that_is_not_to_be_written_can_be_looked_at() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let script = "m create --name w --image $i >/dev/null || exit 1; mount -o remount,ro . || exit 98; \
                  m list --quiet; m status w >/dev/null; echo $?; m start w; echo $?; m delete w; echo $?";
    let Some(call) = mounted(&sandbox, &image.reference("plain"), "size=96m", script) else {
        return;
    };
    let outcome = call.output();
    outcome.code(0).prints("w\n0\n125\n125\n").says(&["ead-only"]);
}

#[test]
fn files_of_other_versions_are_refused_by_name_and_times_mean_nothing() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let name = sandbox.new_name();
    let create = ["create", "--image", &image.reference("plain"), "--name", &name];
    sandbox.call(&create).output().code(0);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    let change = |file: &str, key: &str, value: Value| {
        let path = sandbox.workspace(&name).join(file);
        let before = fs::read(&path).unwrap();
        let mut object: Value = serde_json::from_slice(&before).unwrap();
        object[key] = value;
        fs::write(&path, object.to_string()).unwrap();
        (path, before)
    };
    for (file, version, hint) in [
        ("manifest.json", 4711, "newer program"),
        ("manifest.json", 1, "older program"),
        ("state.json", 4711, "newer program"),
    ] {
        let (path, before) = change(file, "version", version.into());
        let says = [&*version.to_string(), hint, file];
        sandbox.call(&["start", &name]).output().refuses(125, &says);
        sandbox.call(&["status", &name]).output().refuses(125, &says);
        // One that cannot be read does not hide the others.
        sandbox.call(&["list"]).output().code(0).shows(&[&name, "unreadable"]);
        fs::write(path, before).unwrap();
    }
    change("state.json", "since", "2999-01-01T00:00:00Z".into());
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["delete", "-f", &name]).output().code(0);
}
