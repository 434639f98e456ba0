//! `volume` and `--volume`: disks that outlive every machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::oci::{Compression, Entry, Layer};
use microagent_tests_cli::{Invocation, Outcome, Sandbox, tools};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

fn volume(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    sandbox.call(&["volume"]).args(arguments).output()
}

fn run(sandbox: &Sandbox, busybox: &Busybox, volumes: &[&str], line: &str) -> Invocation {
    let reference = busybox.reference("plain");
    sandbox.run(volumes).args(&["--image", &reference, "--exec", line])
}

#[test]
fn a_volume_keeps_what_one_run_leaves_for_the_next() {
    let Some((sandbox, busybox)) = parts() else { return };
    if !tools(&["e2fsck"]) {
        return;
    }
    volume(&sandbox, &["create", "data", "--size-mib", "256"]).code(0).prints("data\n");
    volume(&sandbox, &["create", "data"]).refuses(2, &["'data'", "exists already"]);
    volume(&sandbox, &["create", "a/b"]).refuses(2, &["'a/b'"]);
    volume(&sandbox, &["create", "oci"]).refuses(2, &["'oci'"]);
    let line = "echo kept >/data/file; df -m /data | tail -n 1 | wc -l";
    run(&sandbox, busybox, &["-v", "data:/data"], line).output().code(0).prints("1\n");
    let line = "cat /elsewhere/file; echo x >/elsewhere/file";
    let outcome = run(&sandbox, busybox, &["--volume", "data:/elsewhere:ro"], line).output();
    outcome.code(1).prints("kept\n").says(&["Read-only file system"]);
    volume(&sandbox, &["list"]).code(0).shows(&["data", "256", "no"]);
    let inspected = volume(&sandbox, &["inspect", "data"]).json();
    assert_eq!((&inspected["size_mib"], &inspected["in_use"]), (&256.into(), &false.into()));
    let disk = inspected["path"].as_str().unwrap();
    let judged = Command::new("/sbin/e2fsck").args(["-f", "-n", disk]).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    volume(&sandbox, &["rm", "data"]).code(0).is_silent();
    volume(&sandbox, &["rm", "data"]).refuses(2, &["no volume 'data'"]);
    let outcome = run(&sandbox, busybox, &["-v", "data:/data"], "true").output();
    outcome.refuses(2, &["no volume 'data'", "volume create data"]);
    let list = volume(&sandbox, &["list", "--json"]).code(0).json();
    assert_eq!(list, serde_json::json!({ "volumes": [] }));
}

#[test]
fn a_volume_belongs_to_one_machine() {
    let Some((sandbox, busybox)) = parts() else { return };
    volume(&sandbox, &["create", "data"]).code(0);
    let mut first = run(&sandbox, busybox, &["-v", "data:/data"], "echo held; cat")
        .args(&["-i"])
        .reads_later()
        .start();
    first.wait_for("held");
    let second = run(&sandbox, busybox, &["-v", "data:/data:ro"], "true").output();
    second.refuses(125, &["'data'", "in use"]);
    volume(&sandbox, &["rm", "data"]).refuses(125, &["'data'", "in use"]);
    volume(&sandbox, &["list"]).code(0).shows(&["yes"]);
    first.close_stdin();
    first.finish().code(0);
    volume(&sandbox, &["rm", "data"]).code(0);
}

#[test]
fn images_and_archives_are_volumes_too_and_directories_are_not() {
    let Some((sandbox, busybox)) = parts() else { return };
    let layer = Layer::of([Entry::file("in-archive", "packed\n")]);
    sandbox.write("a.tgz", layer.pack(Compression::Gzip).bytes);
    volume(&sandbox, &["create", "data"]).code(0);
    let inspected = volume(&sandbox, &["inspect", "data"]).json();
    fs::copy(inspected["path"].as_str().unwrap(), sandbox.file("image")).unwrap();
    let volumes = ["-v", "./a.tgz:/a:ro", "-v", "./image:/i"];
    let line = "cat /a/in-archive && echo new >/i/new";
    run(&sandbox, busybox, &volumes, line).output().code(0).prints("packed\n");
    let line = "cat /i/new";
    run(&sandbox, busybox, &["-v", "./image:/i:ro"], line).output().code(0).prints("new\n");
    let outcome = run(&sandbox, busybox, &["-v", "/tmp:/t"], "true").output();
    outcome.refuses(2, &["directories of the host", "--bundle NAME=/tmp:/t:ro"]);
    volume(&sandbox, &["rm", "data"]).code(0);
    // A reference that looks like one is none: -v is --verbose before it.
    let reference = busybox.reference("plain");
    assert!(reference.starts_with("oci:/"));
    let outcome = sandbox.run(&["-v", &reference, "echo", "verbose"]).output();
    outcome.code(0).prints("verbose\n");
    assert!(!outcome.stderr.is_empty(), "{}", outcome.text());
}
