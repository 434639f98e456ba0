//! Layers from hostile hands: refused by name, or the right disk, with bounded memory.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use microagent_tests_cli::oci::{
    ADDRESS_SPACE, Blob, Compression, Config, Entry, Layer, Layout, digest_of, empty_files, zeros,
};
use microagent_tests_cli::{Invocation, Sandbox, tools};

/// Makes a disk of an image with this layer.
struct Built {
    call: Invocation,
    disk: PathBuf,
}

fn build(sandbox: &Sandbox, name: &str, layer: &Blob) -> Built {
    let mut layout = Layout::create(&sandbox.file(&format!("layout-{name}")));
    layout.add("x", &Config::default(), &[layer]);
    let disk = sandbox.file(&format!("disk-{name}"));
    let (reference, out) = (layout.reference("x"), disk.to_str().unwrap());
    let call = ["rootfs", "build", "--allow-mutable", "--image", &reference, "--out", out];
    Built { call: sandbox.call(&call), disk }
}

/// How many inodes of a disk are in use, by a judge who finds nothing else to say.
fn inodes(disk: &Path) -> u32 {
    let output = Command::new("/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    let used = text.lines().last().and_then(|line| line.split(": ").nth(1)?.split('/').next());
    used.and_then(|used| used.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// Of a disk with no files: ext4's own ten, `lost+found`, and three mount points.
const INODES_OF_NONE: u32 = 10 + 1 + 3;

/// What is refused, and how a refusal names it.
fn hostile() -> Vec<(&'static str, Entry)> {
    vec![
        ("absolute", Entry::file("/etc/absolute", "x")),
        ("..", Entry::file("a/../../escape", "x")),
        ("..", Entry::hardlink("hard", "../../../etc/passwd")),
        ("missing", Entry::hardlink("dangling", "missing")),
        ("NUL", Entry::file("short", "x").pax("path", b"nul\0inside")),
        (".", Entry::file("a/./b", "x")),
        ("wh", Entry::file("a/.wh...", "x")),
        ("wh", Entry::file("a/.wh.", "x")),
        ("bytes in a file", Entry::sparse("sparse", 1 << 60)),
    ]
}

#[test]
fn layers_with_names_that_lead_elsewhere_are_refused() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut wrong = Vec::new();
    for (number, (named, entry)) in hostile().into_iter().enumerate() {
        let layer = Layer::of([Entry::dir("a"), entry.clone()]).pack(Compression::Gzip);
        let Built { call, disk } = build(&sandbox, &number.to_string(), &layer);
        let outcome = call.output();
        wrong.extend(outcome.refusal(125, &["layer", named]).err());
        assert!(!disk.exists() && sandbox.leftovers().is_ok(), "{}", outcome.text());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let layer = Layer::of([Entry::file(b"caf\xe9", "x")]).pack(Compression::Gzip);
    let Built { call, disk } = build(&sandbox, "name", &layer);
    call.output().refuses(125, &["\"caf\u{fffd}\"", "not UTF-8", "--mke2fs"]);
    assert!(!disk.exists());
}

#[test]
fn odd_layers_give_the_right_disk() {
    let Some(sandbox) = Sandbox::new().filter(|_| tools(&["e2fsck"])) else { return };
    // The later of two entries of a name counts, and a link that leads out leads nowhere else.
    let layer = Layer::of([
        Entry::file("twice", "first\n"),
        Entry::dir("d"),
        Entry::file("twice", "second\n"),
        Entry::file("d", "no directory any more\n"),
        Entry::symlink("out", "../../../../etc"),
        Entry::file("out/hosts", "of the image\n"),
        Entry::sparse("sparse", 1 << 40),
    ]);
    let Built { call, disk } = build(&sandbox, "odd", &layer.pack(Compression::Zstd));
    call.output().code(0);
    // The last of these names is in a directory that it makes.
    assert_eq!(inodes(&disk), INODES_OF_NONE + 6);
    assert!(fs::metadata(&disk).unwrap().len() < 8 << 30);
    let disk = disk.to_str().unwrap();
    let shows = |path: &str, content: &str| {
        sandbox.call(&["rootfs", "cat", disk, path]).output().code(0).prints(content);
    };
    shows("/twice", "second\n");
    shows("/d", "no directory any more\n");
    shows("/etc/hosts", "of the image\n");
    let listed = sandbox.call(&["rootfs", "ls", disk, "/sparse"]).output();
    listed.code(0).shows(&["1099511627776"]);
}

/// What the program may take of its address space, in KiB, for as many files as there may be, each of which is an inode of the disk.
const ADDRESS_SPACE_OF_FILES: u32 = 3 << 19;

#[test]
fn giant_layers_take_bounded_memory() {
    let Some(sandbox) = Sandbox::new().filter(|_| tools(&["e2fsck"])) else { return };
    let refused = |name: &str, fill: &dyn Fn(&mut dyn Write), says: &str| {
        let Built { call, disk } = build(&sandbox, name, &Blob::stream(fill));
        let outcome = call.with_address_space(ADDRESS_SPACE).output();
        outcome.refuses(125, &["layer", says]);
        assert!(!disk.exists());
        sandbox.leftovers().unwrap();
    };
    refused("zeros", &|to| zeros(to, 2 << 30), "times its compressed size");
    refused("files", &|to| empty_files(to, 1_000_001), "more than 1000000 inodes");
    let most = 999_900;
    let Built { call, disk } = build(&sandbox, "most", &Blob::stream(&|to| empty_files(to, most)));
    call.with_address_space(ADDRESS_SPACE_OF_FILES).output().code(0);
    assert_eq!(inodes(&disk), INODES_OF_NONE + most);
}

#[test]
fn bombs_are_refused_in_time() {
    let Some(sandbox) = Sandbox::new() else { return };
    // 2.5 GiB of zeros in a few MiB, as gzip members that repeat.
    let mut layer = Layer::default();
    layer.add(&Entry::file("small", "x"));
    let mut blob = layer.pack(Compression::Gzip);
    let chunk = Layer::of([Entry::file("zeros", vec![0; 64 << 20])]).tar();
    let packed = Blob::pack(&chunk[..(64 << 20) + 512], Compression::Gzip);
    blob.bytes = std::iter::repeat_n(packed.bytes, 40).flatten().collect();
    blob.digest = digest_of(&blob.bytes);
    let Built { call, disk } = build(&sandbox, "bomb", &blob);
    call.output().refuses(125, &["layer"]);
    assert!(!disk.exists());
}
