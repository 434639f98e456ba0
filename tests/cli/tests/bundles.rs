//! `--bundle`: archives and directories of the host in the guest.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::oci::{Compression, Entry, Layer};
use microagent_tests_cli::{Outcome, Sandbox};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// A run of `line` with `source` at `/src`.
fn run(sandbox: &Sandbox, busybox: &Busybox, source: &Path, rest: &str, line: &str) -> Outcome {
    let bundle = format!("src={}:/src:{rest}", source.display());
    let arguments = ["--image", &busybox.reference("plain"), "--bundle", &bundle, "--exec", line];
    sandbox.run(&arguments).output()
}

fn tree(sandbox: &Sandbox) -> PathBuf {
    let tree = sandbox.file("tree");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("hello"), "hello\n").unwrap();
    fs::write(tree.join("sub/.wh.not-a-whiteout"), "kept\n").unwrap();
    fs::write(tree.join("run.sh"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(tree.join("run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("hello"), tree.join("sub/again")).unwrap();
    symlink("../hello", tree.join("sub/link")).unwrap();
    let name = format!("{}/{}", "d".repeat(200), "n".repeat(250));
    fs::create_dir(tree.join("d".repeat(200))).unwrap();
    fs::write(tree.join(name), "long\n").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    tree
}

#[test]
fn a_directory_is_there_as_it_was_at_the_start() {
    let Some((sandbox, busybox)) = parts() else { return };
    let tree = tree(&sandbox);
    let line = "cd /src && cat hello sub/link sub/again sub/.wh.not-a-whiteout d*/n* && ./run.sh \
        && stat -c '%u:%g %a %h' hello run.sh && ls sub && echo new >hello && cat hello";
    let outcome = run(&sandbox, busybox, &tree, "rw", line);
    let expect = "hello\nhello\nhello\nkept\nlong\nit runs\n0:0 600 2\n0:0 755 1\n\
        again\nempty\nlink\nnew\n";
    let umask = fs::metadata(tree.join("hello")).unwrap().permissions().mode() & 0o777;
    outcome.code(0).prints(&expect.replace("600", &format!("{umask:o}")));
    // What the guest writes is the guest's.
    assert_eq!(fs::read_to_string(tree.join("hello")).unwrap(), "hello\n");
    let outcome = run(&sandbox, busybox, &tree, "ro", "echo x >/src/new");
    outcome.code(1).says(&["Read-only file system"]);
    // A path from the working directory; ext4 adds a directory of its own.
    let outcome = run(&sandbox, busybox, Path::new("tree/sub"), "ro", "ls -A /src");
    outcome.code(0).prints(".wh.not-a-whiteout\nagain\nempty\nlink\nlost+found\n");
}

#[test]
fn an_archive_is_there_whatever_packs_it() {
    let Some((sandbox, busybox)) = parts() else { return };
    let layer = Layer::of([
        Entry::dir("d").owner(5, 6).mode(0o2775),
        Entry::file("d/f", "content\n").owner(1000, 1001).mode(0o4711),
        Entry::symlink("l", "/etc/passwd"),
    ]);
    let check = |compression, rest: &str, owners: &str| {
        let archive = sandbox.write("archive", layer.pack(compression).bytes);
        let line = "cd /src && cat d/f && stat -c '%u:%g %a' d d/f && readlink l";
        let expect = format!("content\n{owners}\n/etc/passwd\n");
        run(&sandbox, busybox, &archive, rest, line).code(0).prints(&expect);
    };
    let kept = "5:6 2775\n1000:1001 4711";
    check(Compression::None, "ro", "0:0 2775\n0:0 711");
    check(Compression::Gzip, "ro,keep-owner", kept);
    check(Compression::Zstd, "rw,keep-owner", kept);
}

#[test]
fn odd_archives_give_the_right_result() {
    let Some((sandbox, busybox)) = parts() else { return };
    // The later of two entries of a name counts, and a link that leads out leads out of the
    // guest's tree, not of the host's.
    let layer = Layer::of([
        Entry::file("twice", "first\n"),
        Entry::dir("d"),
        Entry::file("twice", "second\n"),
        Entry::file("d", "no directory any more\n"),
        Entry::symlink("out", "../../../../../../etc"),
        Entry::file("empty-name-", ""),
    ]);
    let archive = sandbox.write("archive", layer.pack(Compression::None).bytes);
    let line = "cd /src && cat twice d && cat out/passwd | head -n 1 && ls | wc -l";
    let outcome = run(&sandbox, busybox, &archive, "ro", line);
    // With lost+found.
    outcome.code(0).prints("second\nno directory any more\nroot:x:0:0:root:/root:/bin/sh\n5\n");
    let layer = Layer::of([sparse(1 << 40)]);
    let archive = sandbox.write("archive", layer.pack(Compression::Gzip).bytes);
    let line = "cd /src && stat -c '%s %b' sparse && tail -c 4 sparse";
    let outcome = run(&sandbox, busybox, &archive, "ro", line);
    outcome.code(0).prints("1099511627776 8\nend\n");
}

/// A file of this length whose last four bytes are all that is in the archive.
fn sparse(size: u64) -> Entry {
    Entry::file("x", "end\n")
        .pax("GNU.sparse.size", size.to_string())
        .pax("GNU.sparse.map", format!("{},4", size - 4))
        .pax("GNU.sparse.name", "sparse")
}
