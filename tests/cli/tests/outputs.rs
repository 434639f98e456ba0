//! `--output`, `artifacts` and `rootfs ls|cat|extract`: files that leave the guest.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Outcome, Sandbox, until};
use rustix::process::Signal;

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// Makes `/made` in the guest, with some of everything.
const MAKE: &str = "mkdir -p /made/d/empty && cd /made && echo one >one && ln one d/again \
    && ln -s ../one d/link && ln -s /etc/passwd absolute && ln -s ../../etc out && mkfifo pipe \
    && chmod 750 d && chmod 4711 one && dd if=/dev/urandom of=large bs=1M count=20 2>/dev/null \
    && truncate -s 1099511627776 sparse && printf end | dd of=sparse bs=1 seek=1099511627773 \
    conv=notrunc 2>/dev/null && touch -d '2001-02-03 04:05:06' one \
    && sha256sum large | cut -d' ' -f1";

/// Judges a copy of `/made`, whose `large` has this sum.
fn judge(place: &Path, sum: &str) {
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    assert_eq!(
        (read("one"), read("d/again"), read("d/link")),
        ("one\n".into(), "one\n".into(), "one\n".into())
    );
    let meta = |name: &str| place.join(name).symlink_metadata().unwrap();
    assert_eq!(meta("one").ino(), meta("d/again").ino());
    assert_eq!(meta("one").mode() & 0o7777, 0o711, "no set-id bit");
    assert_eq!(meta("one").mtime(), 981_173_106);
    assert_eq!(meta("d").mode() & 0o7777, 0o750);
    assert!(meta("d/empty").is_dir());
    assert_eq!(meta("sparse").len(), 1 << 40);
    assert!(meta("sparse").blocks() < 1024, "{} blocks", meta("sparse").blocks());
    for name in ["absolute", "out", "pipe"] {
        assert!(place.join(name).symlink_metadata().is_err(), "{name}");
    }
    let output = Command::new("sha256sum").arg(place.join("large")).output().unwrap();
    assert!(output.stdout.starts_with(sum.as_bytes()));
}

fn run(sandbox: &Sandbox, busybox: &Busybox, arguments: &[&str], line: &str) -> Outcome {
    let reference = busybox.reference("plain");
    sandbox.run(&["--image", &reference, "--exec", line]).args(arguments).output()
}

#[test]
fn outputs_are_fetched_before_the_machine_ends() {
    let Some((sandbox, busybox)) = parts() else { return };
    let directory = sandbox.file("out/here");
    let to = directory.to_str().unwrap();
    let line = format!("{MAKE}; ln -s /made/one /to-one; exit 3");
    let outputs = ["--output", "made=/made", "--output", "one=/to-one", "--output-dir", to];
    let outcome = run(&sandbox, busybox, &outputs, &line);
    // The command's own end stays what is told.
    outcome.code(3).says(&["absolute: a link to", "out: a link to", "pipe: "]);
    judge(&directory.join("made"), outcome.stdout().trim());
    assert_eq!(fs::read_to_string(directory.join("one")).unwrap(), "one\n");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    // Nothing is replaced, and that is known before the command runs.
    let outcome = run(&sandbox, busybox, &outputs, "echo never");
    outcome.refuses(2, &["made", "exists already"]);
}

#[test]
fn an_output_that_is_not_there_fails_a_run_that_did_not_fail_itself() {
    let Some((sandbox, busybox)) = parts() else { return };
    let directory = sandbox.file("out");
    let to = directory.to_str().unwrap();
    let outputs = ["--output", "n=/nothing", "--output", "tmp=/tmp", "--output-dir", to];
    let outcome = run(&sandbox, busybox, &outputs, "echo done");
    outcome.code(125).prints("done\n").says(&["output 'n'", "/nothing: No such file"]);
    assert!(directory.join("tmp").is_dir(), "the others are there all the same");
    fs::remove_dir(directory.join("tmp")).unwrap();
    let outcome = run(&sandbox, busybox, &outputs, "exit 4");
    outcome.code(4).says(&["output 'n'"]);
    fs::remove_dir(directory.join("tmp")).unwrap();
    let json = [&outputs[..], &["--json"]].concat();
    let outcome = run(&sandbox, busybox, &json, "true");
    outcome.code(125).is_silent();
    let object = outcome.json();
    assert_eq!(object["result"]["exit_code"], 0, "{object}");
    assert_eq!(object["error"]["kind"], "output", "{object}");
    assert_eq!(object["outputs"][1]["entries"], 1, "{object}");
    assert!(object["outputs"][0]["error"].as_str().unwrap().contains("/nothing"), "{object}");
}

#[test]
fn outputs_lie_on_any_disk_of_the_guest() {
    let Some((sandbox, busybox)) = parts() else { return };
    let tree = sandbox.file("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("input"), "3\n").unwrap();
    let bundle = format!("src={}:/src:rw", tree.display());
    let to = sandbox.file("out");
    let arguments = [
        "--bundle",
        &bundle,
        "--output",
        "result=/src/result",
        "--output-dir",
        to.to_str().unwrap(),
    ];
    let outcome =
        run(&sandbox, busybox, &arguments, "echo $(($(cat /src/input) * 2)) >/src/result");
    outcome.code(0).is_silent();
    assert_eq!(fs::read_to_string(to.join("result")).unwrap(), "6\n");
}

#[test]
fn a_kept_workspace_gives_its_outputs_later() {
    let Some((sandbox, busybox)) = parts() else { return };
    let reference = busybox.reference("plain");
    let outputs = ["--output", "made=/made", "--output", "n=/nothing", "--output", "one=/made/one"];
    let call = sandbox.run(&["--keep", "--image", &reference, "--exec", MAKE]).args(&outputs);
    let name = call.name().to_owned();
    sandbox.keeps(&name);
    let outcome = call.output();
    outcome.code(0);
    let sum = outcome.stdout().trim().to_owned();
    let artifacts = |arguments: &[&str]| sandbox.call(&["artifacts"]).args(arguments).output();
    artifacts(&["list", &name]).code(0).shows(&["made", "directory", "missing", "one", "file"]);
    let to = sandbox.file("got");
    let to = to.to_str().unwrap();
    let outcome = artifacts(&["get", &name, "made", "one", "--to", to]);
    outcome.code(0).says(&["absolute: a link to", "pipe: a named pipe"]);
    judge(&Path::new(to).join("made"), &sum);
    assert_eq!(fs::read_to_string(Path::new(to).join("one")).unwrap(), "one\n");
    artifacts(&["get", &name, "n", "--to", to]).refuses(125, &["output 'n'", "/nothing"]);
    artifacts(&["get", &name, "made", "--to", to]).refuses(2, &["made", "exists already"]);
    artifacts(&["get", &name, "other"]).refuses(2, &["'other'", "made, n, one"]);
    artifacts(&["list", "no-such"]).refuses(125, &["no-such"]);
    let image = sandbox.workspace(&name).join("rootfs.ext4");
    let image = image.to_str().unwrap();
    let rootfs = |arguments: &[&str]| sandbox.call(&["rootfs"]).args(arguments).output();
    rootfs(&["ls", image]).code(0).shows(&["made", "lost+found", "etc", "directory"]);
    let json = rootfs(&["ls", "--json", image]).code(0).json();
    let names: Vec<_> = json["entries"].as_array().unwrap().iter().map(|e| &e["name"]).collect();
    assert!(names.iter().any(|name| *name == "made"), "{json}");
    rootfs(&["ls", image, "/made"]).code(0).shows(&["-> /etc/passwd", "fifo", "4711"]);
    rootfs(&["cat", image, "/made/d/link"]).code(0).prints("one\n");
    rootfs(&["cat", image, "/etc"]).refuses(125, &["/etc is a directory"]);
    rootfs(&["cat", image, "/no"]).refuses(125, &["no /no"]);
    let copy = sandbox.file("copy");
    rootfs(&["extract", image, "/made", copy.to_str().unwrap()]).code(0);
    judge(&copy, &sum);
    rootfs(&["extract", image, "/made", copy.to_str().unwrap()]).refuses(125, &["exists"]);
    rootfs(&["ls", "/etc/passwd"]).refuses(125, &["/etc/passwd", "no ext4"]);
}

/// Leaves a process in the guest that sends this signal to whatever the agent has forked and not
/// replaced: what sends an output is that.
fn to_senders(signal: &str) -> String {
    format!(
        "(while :; do for stat in /proc/[0-9]*/stat; do read -r pid name state parent rest <$stat; \
         [ \"$name $parent\" = '(init) 1' ] && kill -{signal} $pid; done; done) >/dev/null 2>&1 &"
    )
}

/// More than is sent before that is seen.
const LARGE: &str = "dd if=/dev/zero of=/f bs=1M count=100 2>/dev/null";

#[test]
fn what_ended_a_transfer_is_told() {
    let Some((sandbox, busybox)) = parts() else { return };
    let to = sandbox.file("out");
    let arguments = ["--output", "f=/f", "--output-dir", to.to_str().unwrap()];
    let line = format!("{LARGE}; {}", to_senders("KILL"));
    let outcome = run(&sandbox, busybox, &arguments, &line);
    outcome.code(125).says(&["'f'", "signal 9 ended what sends it"]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

#[test]
fn a_transfer_that_is_interrupted_leaves_nothing() {
    let Some((sandbox, busybox)) = parts() else { return };
    let to = sandbox.file("out");
    let reference = busybox.reference("plain");
    let line = format!("{LARGE}; {} echo ready", to_senders("STOP"));
    let arguments = ["--output", "f=/f", "--output-dir", to.to_str().unwrap()];
    let run = sandbox.run(&["--image", &reference, "--exec", &line]).args(&arguments);
    let mut live = run.start();
    live.wait_for("ready");
    let begun = || match fs::read_dir(&to).map_or(0, Iterator::count) {
        0 => Err("nothing was begun"),
        _ => Ok(()),
    };
    until(Duration::from_secs(60), begun).unwrap();
    live.signal_group(Signal::INT);
    live.finish().code(130);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}
