use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

const META: TargetMeta = TargetMeta { mode: 0o6755, mtime: (1_000_000_000, 5) };

fn target() -> (tempfile::TempDir, Target) {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::begin(&dir.path().join("out"), 0o022).unwrap();
    (dir, target)
}

fn put(target: &mut Target, path: &[u8], text: &[u8]) {
    let file = target.file(path, text.len() as u64, META).unwrap();
    if !text.is_empty() {
        target.write(&file, 0, text).unwrap();
    }
    target.close(file).unwrap();
}

#[test]
fn a_tree_appears_when_it_is_complete() {
    let (dir, mut target) = target();
    let out = dir.path().join("out");
    target.directory(b"", TargetMeta { mode: 0o555, ..META }).unwrap();
    target.directory(b"d", META).unwrap();
    put(&mut target, b"d/f", b"text");
    target.hard_link(b"g", b"d/f").unwrap();
    target.symlink(b"d/l", b"../g", META).unwrap();
    target.symlink(b"d/out", b"../../x", META).unwrap();
    assert!(!out.exists());
    let done = target.finish().unwrap();
    assert_eq!((done.entries, done.bytes, done.left_out_count), (5, 4, 1));
    assert_eq!(done.left_out, ["d/out: a link to \"../../x\", which leads out"]);
    assert_eq!(fs::read(out.join("d/l")).unwrap(), b"text");
    let meta = out.join("g").metadata().unwrap();
    assert_eq!((meta.nlink(), meta.mtime(), meta.mtime_nsec()), (2, 1_000_000_000, 5));
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755, "no set-id bits");
    // Whoever may not write to a directory cannot give it its name, nor remove what is in it.
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert!(out.join("d/out").symlink_metadata().is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_not_finished_is_gone() {
    let (dir, mut target) = target();
    target.directory(b"", META).unwrap();
    put(&mut target, b"f", b"text");
    drop(target);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_sparse_file_stays_one_and_content_beyond_its_end_is_refused() {
    let (dir, mut target) = target();
    let file = target.file(b"", 1 << 40, META).unwrap();
    target.write(&file, 1 << 30, b"middle").unwrap();
    assert!(target.write(&file, (1 << 40) - 1, b"xy").is_err());
    assert!(target.write(&file, u64::MAX, b"xy").is_err());
    target.close(file).unwrap();
    target.finish().unwrap();
    let meta = dir.path().join("out").metadata().unwrap();
    assert_eq!(meta.len(), 1 << 40);
    assert!(meta.blocks() * 512 < 1 << 20);
}

#[test]
fn the_host_decides_who_else_has_a_right() {
    let check = |umask: u32, mode: u32, file: u32, directory: u32| {
        let (dir, mut target) = target();
        target.umask = umask;
        let meta = TargetMeta { mode, ..META };
        target.directory(b"", meta).unwrap();
        let made = target.file(b"f", 0, meta).unwrap();
        target.close(made).unwrap();
        target.finish().unwrap();
        let out = dir.path().join("out");
        let mode = |path: &std::path::Path| path.metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode(&out.join("f")), mode(&out)), (file, directory), "{umask:o}");
    };
    check(0o022, 0o666, 0o644, 0o744);
    check(0o077, 0o777, 0o700, 0o700);
    check(0o002, 0o4777, 0o775, 0o775);
    check(0o022, 0, 0o400, 0o700);
}

#[test]
fn blocks_of_zeros_are_holes() {
    let (dir, mut target) = target();
    let content = [vec![0; 1 << 20], vec![7; 10], vec![0; 1 << 20], b"end".to_vec()].concat();
    let file = target.file(b"", content.len() as u64, META).unwrap();
    target.write(&file, 0, &content).unwrap();
    target.close(file).unwrap();
    target.finish().unwrap();
    let out = dir.path().join("out");
    assert!(fs::read(&out).unwrap() == content);
    assert!(out.metadata().unwrap().blocks() * 512 <= 64 << 10);
}

#[test]
fn all_that_a_guest_can_send_without_end_is_counted() {
    let check = |spent: Spent, act: &dyn Fn(&mut Target) -> Result<(), ReadError>, what: &str| {
        let (_dir, mut target) = target();
        target.directory(b"", META).unwrap();
        target.spent = spent;
        let failed = act(&mut target).unwrap_err().to_string();
        assert!(failed.starts_with("more than") && failed.ends_with(what), "{failed}");
    };
    let entries = || Spent { entries: ENTRIES_MAX, ..Spent::default() };
    check(entries(), &|target| target.leave_out(b"socket", "a socket"), "files");
    check(entries(), &|target| target.symlink(b"l", b"/out", META), "files");
    check(entries(), &|target| target.directory(b"d", META), "files");
    let bytes = Spent { bytes: BYTES_MAX - PIECE_MIN + 1, ..Spent::default() };
    let write = |target: &mut Target| {
        let file = target.file(b"f", 1, META)?;
        target.write(&file, 0, b"x")
    };
    check(bytes, &write, "bytes of content");
    let held = Spent { held: HELD_MAX, ..Spent::default() };
    check(held, &|target| target.directory(b"d", META), "bytes in the paths of directories");
}

#[test]
fn names_that_lead_out_are_refused() {
    let (dir, mut target) = target();
    target.directory(b"", META).unwrap();
    let long = vec![b'x'; 300];
    for name in [&b".."[..], b".", b"/etc", b"a//b", b"a/../b", b"a/", b"a\0b", &long] {
        assert!(target.file(name, 0, META).is_err(), "{name:?}");
        assert!(target.directory(name, META).is_err(), "{name:?}");
        assert!(target.symlink(name, b"x", META).is_err(), "{name:?}");
    }
    assert!(target.file(b"missing/parent", 0, META).is_err());
    target.symlink(b"link", b"dir", META).unwrap();
    target.directory(b"dir", META).unwrap();
    // Not even a link that stays is gone through.
    assert!(target.file(b"link/f", 0, META).is_err());
    put(&mut target, b"f", b"");
    assert!(target.file(b"f", 0, META).is_err(), "nothing is replaced");
    drop(target);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_there_already_is_left_alone() {
    let (dir, mut target) = target();
    let out = dir.path().join("out");
    put(&mut target, b"", b"new");
    fs::write(&out, "old").unwrap();
    assert!(target.finish().is_err());
    assert_eq!(fs::read(&out).unwrap(), b"old");
    assert!(Target::begin(&out, 0o022).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
