//! The upper layers of the Debian image: everything that a root disk can get wrong.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::command::run;
use crate::elf::i386_exit;
use crate::oci::{Entry, Layer};

/// Longest name of a file, in bytes.
const NAME_MAX: usize = 255;

/// A layer with owners, modes, times, names, links, devices, attributes and sizes of all
/// kinds. `base` is the tar of the layer below, whose lists of users it extends.
pub(crate) fn rarities(base: &[u8]) -> Vec<u8> {
    let mut layer = Layer::of([Entry::dir("srv")]);
    users(&mut layer, base);
    names(&mut layer);
    links(&mut layer);
    owners_modes_times(&mut layer);
    kinds(&mut layer);
    attributes(&mut layer, base);
    sizes(&mut layer);
    layer.add(&Entry::file("srv/i386", i386_exit(42)).mode(0o755));
    layer.tar()
}

/// A layer that changes and removes some of what the others hold.
pub(crate) fn changes() -> Layer {
    Layer::of([
        // One of three names gets a file of its own; the others keep theirs.
        Entry::file("srv/links/second", "a file of its own\n"),
        Entry::whiteout("srv/links/third"),
        Entry::file("srv/modes/sticky-file", "no longer\n").mode(0o644),
        Entry::whiteout("srv/kinds/gone"),
        Entry::dir("srv/tree").mode(0o711),
        Entry::opaque("srv/tree"),
        Entry::file("srv/tree/new", "new\n"),
        Entry::whiteout("usr/share/bash-completion"),
        // A link to a directory, under which the layer goes on.
        Entry::file("bin/added-through-a-link", "#!/bin/sh\necho added\n").mode(0o755),
    ])
}

/// A layer that GNU tar packs from real files: a sparse one, capabilities set by `setcap`,
/// attributes set by `setfattr`.
pub(crate) fn made_by_tar() -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("make a temporary directory");
    let tree = scratch.path();
    let dir = tree.join("srv/packed");
    fs::create_dir_all(&dir).expect("make a directory");
    sparse(&dir.join("sparse"));
    for name in ["capable", "noted"] {
        fs::copy("/bin/true", dir.join(name)).expect("copy a program");
    }
    run(Command::new("setcap").arg("cap_net_raw,cap_net_admin+ep").arg(dir.join("capable")));
    let note = ["-n", "user.note", "-v", "a note"];
    run(Command::new("setfattr").args(note).arg(dir.join("noted")));
    run(Command::new("setfattr").args(note).arg(&dir));
    let mut tar = Command::new("tar");
    tar.args(["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--numeric-owner"]);
    tar.args(["--sort=name", "--mtime=2021-03-04 05:06:07.891", "-cf", "-", "-C"]);
    run(tar.arg(tree).arg("srv/packed"))
}

/// 16 MiB with three islands of data, the last of them at the end.
fn sparse(path: &Path) {
    let file = File::create(path).expect("make a file");
    file.set_len(16 << 20).expect("make a hole");
    for offset in [0, 5 << 20, (16 << 20) - 4096] {
        file.write_all_at(&[7; 4096], offset).expect("write an island");
    }
}

/// `base`'s users and groups and one more: `app`, who is also in `other`.
fn users(layer: &mut Layer, base: &[u8]) {
    let passwd = [file_of(base, "etc/passwd"), b"app:x:1000:1000::/home/app:/bin/sh\n".into()];
    layer.add(&Entry::file("etc/passwd", passwd.concat()));
    let group = [file_of(base, "etc/group"), b"app:x:1000:\nother:x:2000:app\n".into()];
    layer.add(&Entry::file("etc/group", group.concat()));
    layer.add(&Entry::dir("home/app").owner(1000, 1000).mode(0o750));
}

fn names(layer: &mut Layer) {
    layer.add(&Entry::dir("srv/names"));
    let accents = format!("{}x", "é".repeat(NAME_MAX / 2));
    let long = "n".repeat(NAME_MAX);
    let odd = ["with space", "new\nline", "tab\tand\\backslash", "-dash", "*", "...", "\u{1f40b}"];
    for name in odd.into_iter().chain([accents.as_str(), &long]) {
        layer.add(&Entry::file(format!("srv/names/{name}"), name));
    }
    let mut deep = "srv/names".to_owned();
    for level in 0..40 {
        deep = format!("{deep}/level-{level:04}");
        layer.add(&Entry::dir(&deep));
    }
    layer.add(&Entry::file(format!("{deep}/bottom"), "reached"));
    // Enough entries for a directory that needs an index.
    layer.add(&Entry::dir("srv/names/many"));
    for number in 0..3000 {
        layer.add(&Entry::file(format!("srv/names/many/entry-{number}"), ""));
    }
}

fn links(layer: &mut Layer) {
    layer.add(&Entry::dir("srv/links"));
    layer.add(&Entry::file("srv/links/first", "one file, three names\n").mode(0o640));
    layer.add(&Entry::hardlink("srv/links/second", "srv/links/first"));
    layer.add(&Entry::hardlink("srv/links/third", "srv/links/first"));
    layer.add(&Entry::hardlink("srv/links/of-lower-layer", "usr/bin/env"));
    layer.add(&Entry::symlink("srv/links/dangling", "nowhere"));
    layer.add(&Entry::symlink("srv/links/absolute", "/etc/passwd").owner(1000, 1000));
    layer.add(&Entry::symlink("srv/links/up", "../../../../../../etc"));
    layer.add(&Entry::symlink("srv/links/self", "self"));
    // Short ones live in the inode, longer ones in a block; both edges.
    for length in [59, 60, 61, 300, 4000] {
        layer.add(&Entry::symlink(format!("srv/links/of-{length}"), "t".repeat(length)));
    }
}

fn owners_modes_times(layer: &mut Layer) {
    layer.add(&Entry::dir("srv/owners"));
    for owner in [1, 999, 1000, 65_534, 65_535, 65_536, 70_000, 2_000_000] {
        let file = Entry::file(format!("srv/owners/of-{owner}"), "").owner(owner, owner + 1);
        layer.add(&file);
    }
    layer.add(&Entry::file("srv/owners/in-pax", "").pax("uid", "2147483000").pax("gid", "70000"));
    layer.add(&Entry::dir("srv/modes").owner(70_000, 3));
    for mode in [0o000, 0o400, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
        layer.add(&Entry::file(format!("srv/modes/{mode:o}"), "x").mode(mode));
        layer.add(&Entry::dir(format!("srv/modes/dir-{mode:o}")).mode(mode));
    }
    layer.add(&Entry::file("srv/modes/sticky-file", "sticky\n").mode(0o1755));
    layer.add(&Entry::dir("srv/times"));
    let times = ["0", "1", "-1", "-86400.5", "1600000000.123456789", "2147483648", "4294967296.5"];
    for time in times {
        layer.add(&Entry::file(format!("srv/times/at{time}"), "").pax("mtime", time));
    }
    layer.add(&Entry::dir("srv/times/dir").pax("mtime", "1234567890.000000001"));
    layer.add(&Entry::symlink("srv/times/link", "dir").pax("mtime", "1111111111"));
}

fn kinds(layer: &mut Layer) {
    layer.add(&Entry::dir("srv/kinds"));
    layer.add(&Entry::character("srv/kinds/null", 1, 3).mode(0o666));
    layer.add(&Entry::character("srv/kinds/large-numbers", 4095, 1_048_575));
    layer.add(&Entry::block("srv/kinds/loop", 7, 300).owner(0, 6));
    layer.add(&Entry::fifo("srv/kinds/fifo").mode(0o622).owner(1000, 5));
    layer.add(&Entry::file("srv/kinds/gone", "soon\n"));
    layer.add(&Entry::dir("srv/tree"));
    layer.add(&Entry::file("srv/tree/old", "old\n"));
}

fn attributes(layer: &mut Layer, base: &[u8]) {
    layer.add(&Entry::dir("srv/attributes").xattr("user.on.directory", "yes"));
    let note = Entry::file("srv/attributes/noted", "x").xattr("user.note", "a note");
    layer.add(&note.xattr("user.binary", [0, 1, 255, b'\n']));
    layer.add(&Entry::file("srv/attributes/empty", "x").xattr("user.empty", ""));
    let large = Entry::file("srv/attributes/large", "x").xattr("user.large", [b'v'; 2500]);
    layer.add(&large);
    layer.add(&Entry::file("srv/attributes/trusted", "x").xattr("trusted.note", "for root"));
    layer.add(&Entry::symlink("srv/attributes/link", "noted").xattr("trusted.on.link", "1"));
    // Version 2, effective: CAP_NET_RAW (13) permitted, nothing inheritable.
    let capability = [0x0200_0001, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    let capable = Entry::file("srv/attributes/capable", file_of(base, "usr/bin/true"));
    layer.add(&capable.mode(0o755).xattr("security.capability", capability));
    let setuid = Entry::file("srv/attributes/setuid-id", file_of(base, "usr/bin/id"));
    layer.add(&setuid.mode(0o4755));
    // An access list in the kernel's form: owner rw, user 1000 r, group r, mask r, others none.
    let list =
        [(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let entries = list.iter().flat_map(|(tag, rights, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    let list: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(entries).collect();
    let listed = Entry::file("srv/attributes/listed", "x").mode(0o640);
    layer.add(&listed.xattr("system.posix_acl_access", list));
}

fn sizes(layer: &mut Layer) {
    layer.add(&Entry::dir("srv/sizes"));
    for size in [0, 1, 59, 60, 61, 511, 512, 4095, 4096, 4097, 65_536, 3_000_001] {
        let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        layer.add(&Entry::file(format!("srv/sizes/{size}"), content));
    }
}

/// The content of a file of a tar.
fn file_of(tar: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("read the base");
    for entry in entries {
        let mut entry = entry.expect("read the base");
        let path = entry.path_bytes().into_owned();
        if path.strip_prefix(b"./").unwrap_or(&path) == name.as_bytes() {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("read the base");
            return content;
        }
    }
    panic!("the base has no {name}")
}
