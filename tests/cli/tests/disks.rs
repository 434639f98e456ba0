//! `--disk`: images of the user's in the guest.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Sandbox, mentioning, root, tools};
use rustix::process::Signal;

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    tools(&["mke2fs", "e2fsck", "debugfs"]).then_some(())?;
    Some((Sandbox::new()?, busybox()?))
}

/// An ext4 image with one file, `which`, that holds its name.
fn image(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.file(&format!("{name}.ext4"));
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let tree = sandbox.file(&format!("{name}.tree"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("which"), format!("{name}\n")).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    run(mke2fs.args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&path));
    path
}

fn run(command: &mut Command) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {text} {said}");
    text
}

fn sound(image: &Path) {
    run(Command::new("e2fsck").args(["-f", "-n"]).arg(image));
}

fn content(image: &Path, path: &str) -> String {
    run(Command::new("debugfs").args(["-R", &format!("cat {path}")]).arg(image))
}

fn disk(name: &str, image: &Path, rest: &str) -> [String; 2] {
    ["--disk".to_owned(), format!("{name}={}:{rest}", image.display())]
}

#[test]
fn disks_are_mounted_where_they_belong_whatever_their_order() {
    let Some((sandbox, busybox)) = parts() else { return };
    let names = ["zulu", "alpha", "mike"];
    let images = names.map(|name| image(&sandbox, name));
    // The one that is mounted within another comes first.
    let disks = [
        disk("zulu", &images[0], "/mnt/outer/inner:ro"),
        disk("alpha", &images[1], "/mnt/outer:rw"),
        disk("mike", &images[2], "/made/for/it:ro"),
    ];
    let line = "mkdir -p /mnt/outer/inner; cat /mnt/outer/inner/which /mnt/outer/which \
        /made/for/it/which; for disk in /sys/block/vd?; do echo $(cat $disk/serial); done";
    let outcome = sandbox
        .run(&["--image", &busybox.reference("plain")])
        .args(disks.as_flattened())
        .args(&["--exec", line])
        .output();
    outcome.code(0).shows(&["zulu\nalpha\nmike\n"]);
    let serials: Vec<_> = outcome.stdout().split_whitespace().skip(3).map(str::to_owned).collect();
    assert!(serials.ends_with(&names.map(str::to_owned)), "{serials:?}");
}

#[test]
fn what_a_disk_did_not_take_is_told_although_no_program_heard_of_it() {
    let Some((sandbox, busybox)) = parts() else { return };
    if !tools(&["unshare", "mount"]) || !root() {
        return;
    }
    let whole = image(&sandbox, "data");
    let small = sandbox.file("small");
    fs::create_dir(&small).unwrap();
    // The host's file system has room for a part of the image, and goes with the run.
    let script = format!(
        "mount -t tmpfs -o size=16m none {0} && cp --sparse=always {1} {0} && exec \"$@\"",
        small.display(),
        whole.display()
    );
    // Nothing in the guest waits for the disk.
    let line = "dd if=/dev/urandom of=/mnt/big bs=1M count=32 2>/dev/null; echo $?";
    let outcome = sandbox
        .run(&["--image", &busybox.reference("plain"), "--exec", line])
        .args(&disk("data", &small.join("data.ext4"), "/mnt:rw"))
        .under(&["unshare", "-m", "sh", "-c", &script, "sh"])
        .output();
    outcome
        .code(125)
        .prints("0\n")
        .says(&["did not write back its disks: cannot write back /mnt: I/O error", "e2fsck"]);
}

#[test]
fn what_is_written_to_a_disk_is_in_it_afterwards() {
    let Some((sandbox, busybox)) = parts() else { return };
    let image = image(&sandbox, "data");
    let outcome = sandbox
        .run(&["--image", &busybox.reference("plain")])
        .args(&disk("data", &image, "/data:rw"))
        .args(&["--exec", "echo new >/data/new; rm /data/which; exit 5"])
        .output();
    outcome.code(5).is_silent();
    sound(&image);
    assert_eq!(content(&image, "/new"), "new\n");
    assert_eq!(content(&image, "/which"), "");
}

#[test]
fn a_read_only_disk_refuses_writes_and_does_not_change() {
    let Some((sandbox, busybox)) = parts() else { return };
    let image = image(&sandbox, "fixed");
    let before = fs::read(&image).unwrap();
    let line = "echo x >/fixed/new; mount -o remount,rw /fixed; echo x >/fixed/which; \
        dd if=/dev/zero of=$(grep ' /fixed ' /proc/mounts | cut -d' ' -f1) count=1; \
        cat /fixed/which";
    let outcome = sandbox
        .run(&["--image", &busybox.reference("plain")])
        .args(&disk("fixed", &image, "/fixed:ro"))
        .args(&["--exec", line])
        .output();
    outcome.code(0).prints("fixed\n").says(&["/fixed/new: Read-only file system"]);
    assert!(fs::read(&image).unwrap() == before, "the image has changed");
}

#[test]
fn a_written_disk_belongs_to_one_machine_and_a_read_one_to_many() {
    let Some((sandbox, busybox)) = parts() else { return };
    let reference = busybox.reference("plain");
    let image = image(&sandbox, "shared");
    let run = |access: &str, line: &str| {
        sandbox
            .run(&["--image", &reference])
            .args(&disk("shared", &image, &format!("/shared:{access}")))
            .args(&["--exec", line])
    };
    let hold = "echo held; cat";
    let mut writer = run("rw", hold).args(&["-i"]).reads_later().start();
    writer.wait_for("held");
    for access in ["rw", "ro"] {
        run(access, "true").output().refuses(125, &["shared.ext4", "in use"]);
    }
    writer.close_stdin();
    writer.finish().code(0);
    let mut reader = run("ro", hold).args(&["-i"]).reads_later().start();
    reader.wait_for("held");
    run("ro", "cat /shared/which").output().code(0).prints("shared\n");
    run("rw", "true").output().refuses(125, &["shared.ext4", "in use"]);
    reader.close_stdin();
    reader.finish().code(0);
    run("rw", "true").output().code(0);
}

#[test]
fn data_on_a_disk_after_sync_survives_the_monitors_death() {
    let Some((sandbox, busybox)) = parts() else { return };
    let image = image(&sandbox, "lasting");
    let line = "echo safe >/lasting/safe; sync; echo synced; sleep 1000";
    let mut live = sandbox
        .run(&["--image", &busybox.reference("plain")])
        .args(&disk("lasting", &image, "/lasting:rw"))
        .args(&["--exec", line])
        .start();
    live.wait_for("synced");
    // All of the machine at once: neither the program nor a guard sees its end coming.
    let machine = mentioning(&sandbox.workspace(live.name()));
    let machine: Vec<_> = machine.iter().filter(|process| process.pid != live.pid()).collect();
    assert!(!machine.is_empty());
    machine.iter().for_each(|process| process.signal(Signal::KILL));
    live.finish().code(125);
    // Its journal was not played back: read-only is refused until somebody did.
    let run = |access: &str| {
        sandbox
            .run(&["--image", &busybox.reference("plain")])
            .args(&disk("lasting", &image, &format!("/lasting:{access}")))
            .args(&["--exec", "cat /lasting/safe"])
            .output()
    };
    run("ro").refuses(125, &["lasting.ext4", "not unmounted", "read-write once"]);
    run("rw").code(0).prints("safe\n");
    run("ro").code(0).prints("safe\n");
    sound(&image);
}

#[test]
fn what_is_no_image_is_refused_before_anything_is_made() {
    let Some((sandbox, busybox)) = parts() else { return };
    let reference = busybox.reference("plain");
    let good = image(&sandbox, "good");
    let text = sandbox.write("text", "hello\n");
    let zeros = sandbox.write("zeros", vec![0; 1 << 20]);
    let truncated = sandbox.file("truncated");
    fs::copy(&good, &truncated).unwrap();
    File::options().write(true).open(&truncated).unwrap().set_len(1 << 20).unwrap();
    let directory = sandbox.file("good.tree");
    let missing = sandbox.file("missing");
    let cases: [(&Path, &[&str]); 6] = [
        (&missing, &["'d'", "missing", "No such file"]),
        (&text, &["'d'", "no ext4", "mke2fs"]),
        (&zeros, &["'d'", "no ext4"]),
        (&truncated, &["'d'", "its file only 1048576"]),
        (&directory, &["'d'", "no regular file", "--bundle"]),
        (Path::new("/dev/null"), &["'d'", "no regular file"]),
    ];
    for (path, named) in cases {
        let outcome = sandbox
            .run(&["--image", &reference])
            .args(&disk("d", path, "/d:ro"))
            .args(&["--exec", "true"])
            .output();
        outcome.refuses(125, named);
        assert!(!sandbox.state().join("images/bases").exists() || bases(&sandbox) == 0);
    }
    let outcome = sandbox
        .run(&["--image", &reference])
        .args(&disk("one", &good, "/one:ro"))
        .args(&disk("two", &good, "/two:rw"))
        .args(&["--exec", "true"])
        .output();
    outcome.refuses(2, &["'one'", "'two'", "same image"]);
}

fn bases(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.state().join("images/bases")).map_or(0, Iterator::count)
}

/// How many disks a machine can have beside its root, by the program's own word.
fn most_disks(sandbox: &Sandbox, reference: &str, image: &Path) -> usize {
    let admitted = |count: usize| {
        let disks = (0..count).flat_map(|n| disk(&format!("d{n}"), image, &format!("/d{n}:ro")));
        let disks: Vec<_> = disks.collect();
        let outcome = sandbox
            .run(&["--dry-run", "--image", reference, "--exec", "true"])
            .args(&disks)
            .output();
        outcome.status.success()
    };
    (1..40).take_while(|count| admitted(*count)).last().unwrap()
}

#[test]
fn as_many_disks_as_the_backend_has_slots_for_and_not_one_more() {
    let Some((sandbox, busybox)) = parts() else { return };
    let reference = busybox.reference("plain");
    let image = image(&sandbox, "many");
    let most = most_disks(&sandbox, &reference, &image);
    let run = |count: usize| {
        let disks = (0..count).flat_map(|n| disk(&format!("d{n}"), &image, &format!("/d{n}:ro")));
        let disks: Vec<_> = disks.collect();
        let line = "cat /d*/which | wc -l";
        sandbox.run(&["--image", &reference, "--exec", line]).args(&disks).output()
    };
    run(most).code(0).prints(&format!("{most}\n"));
    run(most + 1).refuses(125, &["disks", "at most"]);
    sandbox.leftovers().unwrap();
}
