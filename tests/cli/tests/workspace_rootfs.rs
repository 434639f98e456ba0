//! Workspaces whose root disk is a copy of an ext4 image.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Sandbox, find, tools};
use sha2::{Digest, Sha256};

#[test]
fn a_disk_that_is_there_is_copied_and_stays_as_it_is() {
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    if !tools(&["e2fsck"]) {
        return;
    }
    let disk = sandbox.file("disk.ext4");
    let path = disk.to_str().unwrap();
    let build = ["rootfs", "build", "--allow-mutable", "--size-mib", "200", "--out", path];
    sandbox.call(&build).args(&["--image", &image.reference("plain")]).output().code(0);
    let before = Sha256::digest(fs::read(&disk).unwrap());
    let name = sandbox.new_name();
    let create = ["create", "--name", &name, "--rootfs", "disk.ext4"];
    let line = "id -u >>/log; echo $PATH >>/log; sync; sleep 999";
    let made = sandbox.call(&create).args(&["--json", "--exec", line]).output().code(0).json();
    assert_eq!((&made["image"], &made["resources"]["size_mib"]), (&().into(), &200.into()));
    // It is not needed again.
    fs::rename(&disk, sandbox.file("aside")).unwrap();
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    let wait = "until grep -q / /log; do sleep 0.1; done; cat /log; id -u; echo $PATH";
    let expect = "0\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n".repeat(2);
    sandbox.call(&["exec", &name, "sh", "-c", wait]).output().code(0).prints(&expect);
    sandbox.call(&["restart", "--wait", &name]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    sandbox.call(&["status", &name]).output().code(0).shows(&["copied from", path, "200 MiB"]);
    let root = sandbox.workspace(&name).join("rootfs.ext4");
    let judged = Command::new(find("e2fsck").unwrap()).args(["-fn"]).arg(root).output().unwrap();
    assert!(judged.status.success(), "{judged:?}");
    assert_eq!(Sha256::digest(fs::read(sandbox.file("aside")).unwrap()), before);
    sandbox.call(&["delete", &name]).output().code(0);
}

#[test]
fn what_is_no_root_disk_is_refused_and_leaves_nothing() {
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    sandbox.write("text", "no disk\n".repeat(1000));
    sandbox.write("microagent.yaml", "image: nowhere.invalid/box\nresources: {size_mib: 300}\n");
    fs::create_dir(sandbox.file("dir")).unwrap();
    let name = sandbox.new_name();
    let create = |words: &[&str]| sandbox.call(&["create", "--name", &name]).args(words).output();
    create(&["--rootfs", "none"]).refuses(125, &["none", "No such file"]);
    create(&["--rootfs", "text"]).refuses(125, &["text", "ext4"]);
    create(&["--rootfs", "dir"]).refuses(125, &["dir", "no regular file"]);
    // Flags go over the file.
    create(&["--rootfs", "none", "--file", "microagent.yaml"]).refuses(125, &["none"]);
    let image = image.reference("plain");
    for flag in [["--image", &*image], ["--size-mib", "300"], ["--mke2fs", "/bin/true"]] {
        let words = [&["--rootfs", "text"][..], &flag].concat();
        create(&words).refuses(2, &["--rootfs text", flag[0]]);
    }
    sandbox.call(&["run", "--rootfs", "text"]).output().refuses(2, &["--rootfs"]);
    sandbox.call(&["list", "--quiet"]).output().code(0).prints("");
}
