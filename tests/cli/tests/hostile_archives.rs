//! `--bundle` from hostile hands: refused by name, with bounded memory, and nothing is left.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::path::Path;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::oci::{
    ADDRESS_SPACE, Blob, Compression, Entry, Layer, empty_files, zeros,
};
use microagent_tests_cli::{Outcome, Sandbox};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

/// A run with `source` at `/src`.
fn run(sandbox: &Sandbox, busybox: &Busybox, source: &Path, rest: &str, line: &str) -> Outcome {
    let bundle = format!("src={}:/src:{rest}", source.display());
    let arguments = ["--image", &busybox.reference("plain"), "--bundle", &bundle, "--exec", line];
    sandbox.run(&arguments).output()
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_left() {
    let Some((sandbox, busybox)) = parts() else { return };
    let file = |name: &str| Layer::of([Entry::file(name, "x")]);
    let gzip = |layer: &Layer| layer.pack(Compression::Gzip).bytes;
    let mut truncated = gzip(&file("x"));
    truncated.truncate(truncated.len() / 2);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (gzip(&file("../escape")), "\"../escape\""),
        (gzip(&file("/absolute")), "\"/absolute\""),
        (gzip(&file("a/../../b")), "climbs"),
        (gzip(&Layer::of([Entry::hardlink("link", "../../etc/passwd")])), "climbs"),
        (gzip(&Layer::of([Entry::hardlink("link", "nowhere")])), "does not exist"),
        (gzip(&Layer::of([Entry::file(b"caf\xe9", "x")])), "not UTF-8"),
        (gzip(&Layer::of([Entry::sparse("sparse", 1 << 60)])), "bytes in a file"),
        (truncated, "truncated"),
        (b"just text, no archive\n".to_vec(), "not a tar archive"),
        (Vec::new(), "has no end"),
        (vec![b'x'; 4096], "not a tar archive"),
    ];
    for (bytes, says) in cases {
        let archive = sandbox.write("archive", bytes);
        let outcome = run(&sandbox, busybox, &archive, "ro", "true");
        outcome.refuses(125, &["'src'", "archive", says]);
        sandbox.leftovers().unwrap();
    }
    let missing = sandbox.file("missing");
    run(&sandbox, busybox, &missing, "ro", "true").refuses(125, &["'src'", "missing"]);
    let null = Path::new("/dev/null");
    run(&sandbox, busybox, null, "ro", "true").refuses(125, &["neither an archive nor"]);
}

#[test]
fn giant_archives_are_refused_with_bounded_memory() {
    let Some((sandbox, busybox)) = parts() else { return };
    let check = |fill: &dyn Fn(&mut dyn Write), says: &str| {
        let archive = sandbox.write("archive", Blob::stream(fill).bytes);
        let bundle = format!("src={}:/src:ro", archive.display());
        sandbox
            .run(&["--image", &busybox.reference("plain"), "--bundle", &bundle])
            .args(&["--exec", "true"])
            .with_address_space(ADDRESS_SPACE)
            .output()
            .refuses(125, &["'src'", says]);
        sandbox.leftovers().unwrap();
    };
    check(&|to| zeros(to, 2 << 30), "times its compressed size");
    check(&|to| empty_files(to, 1_000_001), "more than 1000000 inodes");
}
