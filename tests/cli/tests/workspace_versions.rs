//! Workspaces that programs of two versions share, and clocks that are set back.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Invocation, Registry, Sandbox, missing};
use serde_json::Value;

/// How a 64-bit little-endian ELF file begins.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01";
/// Where in it nobody looks: padding of its identification.
const UNUSED: usize = 9;
/// Where its machine stands, and x86-64.
const MACHINE: (usize, u8) = (18, 62);

/// What has a program see another time of day.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A sandbox with a workspace that has been up, in which `/kept` says `here`.
fn used() -> Option<(Sandbox, String)> {
    let (image, sandbox) = (busybox()?, Sandbox::new()?);
    let name = sandbox.new_name();
    let image = image.reference("plain");
    let create = ["create", "--image", &image, "--name", &name, "--output", "o=/kept"];
    sandbox.call(&create).output().code(0);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["exec", &name, "sh", "-c", "echo here >/kept"]).output().code(0);
    Some((sandbox, name))
}

/// The program with an agent that is another, and does the same.
fn with_another_agent(sandbox: &Sandbox) -> PathBuf {
    let mut bytes = fs::read(&sandbox.setting().program).unwrap();
    let begins =
        |at: &usize| bytes[*at..].starts_with(ELF) && bytes.get(at + MACHINE.0) == Some(&MACHINE.1);
    // The first is the program itself.
    let within: Vec<_> = (1..bytes.len() - ELF.len()).filter(begins).collect();
    assert!(!within.is_empty(), "there is no agent in the program");
    within.iter().for_each(|at| bytes[at + UNUSED] ^= 1);
    let path = sandbox.write("another", bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The same call of another program.
fn of(program: &Path, call: &Invocation) -> Output {
    let call = call.command();
    let mut command = Command::new(program);
    command.args(call.get_args()).env_clear();
    command.envs(call.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.current_dir(call.get_current_dir().unwrap()).output().unwrap()
}

#[test]
fn an_agent_of_another_version_is_refused_until_it_is_accepted() {
    let Some((sandbox, name)) = used() else { return };
    let another = with_another_agent(&sandbox);
    let libexec = sandbox.setting().program.parent().unwrap().to_owned();
    let other = |words: &[&str]| {
        let call = sandbox.call(words).env("MICROAGENT_LIBEXEC", &libexec);
        let output = of(&another, &call);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // What is up is there for both.
    let (code, stdout, stderr) = other(&["exec", &name, "cat", "/kept"]);
    assert_eq!((code, &*stdout), (Some(0), "here\n"), "{stderr}");
    assert_eq!(other(&["halt", &name]).0, Some(0));
    let (code, _, stderr) = other(&["start", "--wait", &name]);
    assert_eq!(code, Some(125), "{stderr}");
    for part in ["guest agent in this program is another", "--accept-changes"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    // Nothing has happened to it.
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    let (code, _, stderr) = other(&["start", "--wait", "--accept-changes", &name]);
    assert_eq!(code, Some(0), "{stderr}");
    sandbox.call(&["exec", &name, "cat", "/kept"]).output().code(0).prints("here\n");
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["start", &name]).output().refuses(125, &["guest agent", "--accept-changes"]);
    sandbox.call(&["delete", &name]).output().code(0);
}

/// Digest of the image that a reference means, as pulling it tells.
fn pull(sandbox: &Sandbox, reference: &str) -> String {
    let outcome = sandbox.call(&["--json", "image", "pull", reference]).output();
    outcome.code(0).json()["image"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_whose_tag_has_moved_is_refused_until_it_is_accepted_and_the_disk_stays() {
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    let Some(registry) = Registry::start() else { return };
    let push = |of: &str| registry.push(&image.reference(of), "box:moving");
    push("plain");
    let tag = registry.reference("box:moving");
    let name = sandbox.new_name();
    let start = || sandbox.call(&["start", "--wait", &name]);
    let kept = || {
        sandbox.call(&["exec", &name, "cat", "/kept"]).output().code(0).prints("here\n");
    };
    sandbox.call(&["create", "--image", &tag, "--name", &name]).output().code(0);
    start().output().code(0);
    sandbox.call(&["exec", &name, "sh", "-c", "echo here >/kept"]).output().code(0);
    let first = pull(&sandbox, &tag);
    push("entry");
    // The registry is not asked.
    sandbox.call(&["restart", "--wait", &name]).output().code(0);
    let second = pull(&sandbox, &tag);
    let says = [&*tag, "is another image now", &*first, &*second, "--accept-changes"];
    sandbox.call(&["restart", &name]).output().refuses(125, &says);
    // It is not halted for nothing.
    kept();
    sandbox.call(&["halt", &name]).output().code(0);
    start().output().refuses(125, &says);
    start().args(&["--accept-changes"]).output().code(0);
    kept();
    sandbox.call(&["restart", "--wait", &name]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    let status = sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!(status["manifest"]["origin"]["image"]["digest"], *first);
    assert_eq!(status["manifest"]["verification"]["image_digest"], *second);
    drop(registry);
    sandbox.call(&["image", "prune", "--all"]).output().code(0);
    start().output().code(0);
    kept();
    sandbox.call(&["delete", "-f", &name]).output().code(0);
}

#[test]
fn a_shim_and_a_command_of_other_versions_refuse_each_other() {
    let Some((sandbox, name)) = used() else { return };
    let socket = sandbox.workspace(&name).join("run/shim.sock");
    // A command of a newer version, and this version's shim.
    let mut newer = UnixStream::connect(&socket).unwrap();
    newer.write_all(b"{\"protocol\":4711,\"op\":\"standing\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&newer).read_line(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let message = answer["err"]["message"].as_str().unwrap();
    assert!(message.contains("version 4711"), "{message}");
    // This version's commands, and a shim of a newer one.
    fs::rename(&socket, socket.with_extension("aside")).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let refuse = move || {
        for mut client in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&client).read_line(&mut line);
            let _ = client.write_all(b"{\"protocol\":4711,\"ok\":null}\n");
        }
    };
    // It ends with this process.
    thread::spawn(refuse);
    let says = ["version 4711", "program that started it"];
    let calls: [&[&str]; 4] =
        [&["exec", &name, "true"], &["halt", &name], &["pause", &name], &["stats", &name]];
    for call in calls {
        sandbox.call(call).output().refuses(125, &says);
    }
    sandbox.call(&["status", &name]).output().code(0).shows(&["running"]);
    fs::rename(socket.with_extension("aside"), &socket).unwrap();
    sandbox.call(&["exec", &name, "cat", "/kept"]).output().code(0).prints("here\n");
    sandbox.call(&["delete", "-f", &name]).output().code(0);
}

#[test]
fn what_an_older_version_made_is_refused_and_its_files_are_fetched() {
    let Some((sandbox, name)) = used() else { return };
    sandbox.call(&["halt", &name]).output().code(0);
    let path = sandbox.workspace(&name).join("manifest.json");
    let now = fs::read(&path).unwrap();
    let mut object: Value = serde_json::from_slice(&now).unwrap();
    // Version 2 said nothing of a network.
    object["version"] = 2.into();
    object.as_object_mut().unwrap().remove("network");
    fs::write(&path, object.to_string()).unwrap();
    let says = ["manifest", "version 2", "version 5", "older program", "artifacts"];
    sandbox.call(&["start", &name]).output().refuses(125, &says);
    sandbox.call(&["clone", &name, "copy"]).output().refuses(125, &says[..3]);
    let to = sandbox.file("to");
    sandbox.call(&["artifacts", "get", &name, "--to", to.to_str().unwrap()]).output().code(0);
    assert_eq!(fs::read_to_string(to.join("o")).unwrap(), "here\n");
    sandbox.call(&["cp", &format!("{name}:/kept"), "kept"]).output().code(0);
    assert_eq!(fs::read_to_string(sandbox.file("kept")).unwrap(), "here\n");
    // Refused, it is what it was.
    let refused: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(refused, object);
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn a_clock_that_is_set_back_changes_nothing() {
    if !Path::new(FAKETIME).is_file() {
        return missing("faketime", &format!("{FAKETIME} does not exist"));
    }
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    let name = sandbox.new_name();
    let ahead = |words: &[&str]| {
        // Of the time of day alone: what counts on from the start of the machine is not set back.
        let call = sandbox.call(words).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        call.env("LD_PRELOAD", FAKETIME).env("FAKETIME", "+3650d")
    };
    let image = image.reference("plain");
    ahead(&["create", "--image", &image, "--name", &name]).output().code(0);
    // Its shim, too, is ten years ahead of those who talk to it.
    ahead(&["start", "--wait", &name]).output().code(0);
    let status =
        |call: Invocation| call.output().code(0).json()["since"].as_str().map(str::to_owned);
    let since = status(sandbox.call(&["status", "--json", &name])).unwrap();
    sandbox.call(&["exec", &name, "sh", "-c", "echo here >/kept"]).output().code(0);
    sandbox.call(&["pause", &name]).output().code(0);
    ahead(&["resume", &name]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    let later = status(sandbox.call(&["status", "--json", &name])).unwrap();
    assert!(later < since, "the clock was not set back: {since}, then {later}");
    sandbox.call(&["exec", &name, "cat", "/kept"]).output().code(0).prints("here\n");
    sandbox.call(&["prune"]).output().code(0).prints("");
    let shown = sandbox.call(&["events", &name]).output().code(0).stdout();
    let running = shown.lines().filter(|line| line.contains("running")).count();
    assert!(running >= 3, "{shown}");
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["delete", &name]).output().code(0);
}
