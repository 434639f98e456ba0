//! `rootfs build`: root disks as files, judged by e2fsprogs.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use microagent_tests_cli::images::{busybox, debian, whiteouts};
use microagent_tests_cli::{Outcome, Registry, Sandbox, root, tools};

fn build(sandbox: &Sandbox, reference: &str, out: &Path, more: &[&str]) -> Outcome {
    let out = out.to_str().unwrap();
    let call = ["rootfs", "build", "--image", reference, "--out", out];
    sandbox.call(&call).args(more).output()
}

fn assert_sound(disk: &Path) {
    let output = Command::new("/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}", output.status);
}

#[test]
fn a_tag_needs_permission_and_a_digest_does_not() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), busybox()) else { return };
    let Some(registry) = Registry::start() else { return };
    registry.push(&image.reference("plain"), "box:v1");
    let out = sandbox.file("disk");
    let tag = registry.reference("box:v1");
    build(&sandbox, &tag, &out, &[]).refuses(2, &["box:v1", "--allow-mutable"]);
    assert!(!out.exists() && !sandbox.state().exists());
    build(&sandbox, &tag, &out, &["--allow-mutable"]).code(0).shows(&["disk"]);
    // The digest is in what an image pull tells.
    let pulled = sandbox.call(&["--json", "image", "pull", &tag]).output();
    let digest = pulled.code(0).json()["image"]["digest"].as_str().unwrap().to_owned();
    let by_digest = registry.reference(&format!("box@{digest}"));
    let again = sandbox.file("again");
    build(&sandbox, &by_digest, &again, &[]).code(0);
    assert!(fs::read(&out).unwrap() == fs::read(&again).unwrap());
    build(&sandbox, &by_digest, &again, &[]).refuses(2, &["again", "exists"]);
}

#[test]
fn the_same_digest_makes_the_same_bytes_anywhere() {
    let (Some(one), Some(two), Some(image)) = (Sandbox::new(), Sandbox::new(), whiteouts()) else {
        return;
    };
    let disk = |sandbox: &Sandbox, more: &[&str]| {
        let out = sandbox.file("disk");
        let arguments = [more, &["--allow-mutable"]].concat();
        build(sandbox, &image.reference(), &out, &arguments).code(0).is_silent();
        fs::read(out).unwrap()
    };
    let first = disk(&one, &["--size-mib", "200"]);
    assert_eq!(first.len(), 200 << 20);
    assert!(first == disk(&two, &["--size-mib", "200"]));
}

#[test]
fn disks_are_sound_and_the_json_tells_what_they_are() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), debian()) else { return };
    if !tools(&["e2fsck", "sha256sum"]) {
        return;
    }
    let out = sandbox.file("disk");
    let outcome = build(&sandbox, &image.reference(), &out, &["--allow-mutable", "--json"]);
    outcome.code(0).is_silent();
    assert_sound(&out);
    let json = outcome.json();
    assert_eq!(json["size_bytes"].as_u64(), Some(fs::metadata(&out).unwrap().len()), "{json}");
    let sum = Command::new("sha256sum").arg(&out).output().unwrap();
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    assert_eq!(json["sha256"].as_str(), sum.split(' ').next(), "{json}");
}

#[test]
fn a_size_that_is_too_small_is_told_what_it_takes() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), debian()) else { return };
    let out = sandbox.file("disk");
    let outcome =
        build(&sandbox, &image.reference(), &out, &["--allow-mutable", "--size-mib", "130"]);
    outcome.refuses(2, &["130 MiB", "needs", "--size-mib"]);
    assert!(!out.exists());
    // What it names is enough.
    let stderr = outcome.stderr();
    let needed = stderr.split("--size-mib ").nth(1).and_then(|rest| rest.split(' ').next());
    let needed = needed.unwrap().to_owned();
    let sized = ["--allow-mutable", "--size-mib", &needed];
    build(&sandbox, &image.reference(), &out, &sized).code(0);
    assert_sound(&out);
}

#[test]
fn another_mke2fs_can_do_it() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), whiteouts()) else { return };
    if !tools(&["mke2fs", "e2fsck"]) || !root() {
        return;
    }
    let mke2fs = PathBuf::from("/sbin/mke2fs");
    let out = sandbox.file("disk");
    let arguments = ["--allow-mutable", "--mke2fs", mke2fs.to_str().unwrap()];
    build(&sandbox, &image.reference(), &out, &arguments).code(0);
    assert_sound(&out);
    let image = image.reference();
    let run = sandbox.run(&["--mke2fs", "/sbin/mke2fs", "--image", &image, "cat", "/w/edited"]);
    run.output().code(0).prints("edited\n");
    build(&sandbox, &image, &sandbox.file("x"), &["--allow-mutable", "--mke2fs", "/bin/true"])
        .refuses(125, &["/bin/true"]);
}

#[test]
fn other_architectures_and_places_that_cannot_be_written_are_refused() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), busybox()) else { return };
    let image = image.reference("plain");
    let out = sandbox.file("disk");
    build(&sandbox, &image, &out, &["--allow-mutable", "--arch", "aarch64"])
        .refuses(2, &["aarch64"]);
    let nowhere = sandbox.file("no/such/dir/disk");
    build(&sandbox, &image, &nowhere, &["--allow-mutable"]).refuses(125, &["no/such/dir"]);
}
