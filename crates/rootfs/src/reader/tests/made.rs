//! Images of every kind, made by `mke2fs`; what is in them is known from the host's files.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::*;
use crate::Target;

/// A directory with some of everything that a user can make.
fn sample(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("d/e")).unwrap();
    fs::create_dir(tree.join("many")).unwrap();
    for n in 0..1500 {
        fs::write(tree.join(format!("many/some-rather-long-name-{n}")), format!("{n}")).unwrap();
    }
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("d/small"), "small\n").unwrap();
    fs::set_permissions(tree.join("d/small"), fs::Permissions::from_mode(0o640)).unwrap();
    let large: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    fs::write(tree.join("d/e/large"), large).unwrap();
    fs::hard_link(tree.join("d/e/large"), tree.join("other-name")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 26).unwrap();
    sparse.write_all_at(b"island", 40 << 20).unwrap();
    for (name, target) in [("short", "d/small"), ("up", "d/../d/e"), ("out", "../../x")] {
        std::os::unix::fs::symlink(target, tree.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(format!("{}d/small", "./".repeat(100)), tree.join("long")).unwrap();
    std::os::unix::fs::symlink("/d/small", tree.join("absolute")).unwrap();
    std::os::unix::fs::symlink("self", tree.join("self")).unwrap();
    tree
}

/// An image of `tree`; none, with a visible reason, without mke2fs.
fn image(dir: &Path, tree: &Path, options: &[&str]) -> Option<PathBuf> {
    let path = dir.join("image");
    let _ = fs::remove_file(&path);
    fs::File::create(&path).unwrap().set_len(256 << 20).unwrap();
    let mut command = Command::new("/sbin/mke2fs");
    command.args(["-q", "-F", "-t", "ext4"]).args(options).arg("-d").arg(tree).arg(&path);
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{options:?}: {said}");
            Some(path)
        }
        Err(error) => {
            let demanded = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
            assert!(!demanded.split(',').any(|w| w == "mke2fs" || w == "all"), "mke2fs: {error}");
            eprintln!("SKIP: mke2fs: {error}");
            None
        }
    }
}

fn text(image: &Ext4, path: &str) -> Result<String, ReadError> {
    let node = image.lookup(path.as_bytes(), Follow::Yes)?;
    let mut content = Vec::new();
    image.read(&node, &mut |_, bytes| {
        content.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(String::from_utf8(content).unwrap())
}

#[test]
fn every_geometry_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = sample(dir.path());
    let all: &[&[&str]] = &[
        &["-b", "4096"],
        &["-b", "1024"],
        &["-b", "2048", "-I", "128"],
        &["-b", "1024", "-O", "meta_bg,^resize_inode"],
        &["-b", "4096", "-O", "^64bit,^metadata_csum"],
        &["-b", "1024", "-O", "sparse_super2,^resize_inode"],
        &["-b", "4096", "-O", "^flex_bg,^has_journal"],
        &["-b", "4096", "-O", "bigalloc", "-C", "16384"],
    ];
    for options in all {
        let Some(path) = image(dir.path(), &tree, options) else { return };
        let ext4 = Ext4::open(&path).unwrap();
        let place = dir.path().join("out");
        let root = ext4.lookup(b"/", Follow::Yes).unwrap();
        let done = ext4.extract(root, Target::begin(&place, 0o022).unwrap()).unwrap();
        assert_eq!(done.left_out_count, 3, "{options:?}: {:?}", done.left_out);
        let mut diff = Command::new("diff");
        diff.args(["-r", "--no-dereference"]).arg(&tree).arg(&place);
        let output = diff.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let differ: Vec<_> = said.lines().collect();
        let expect: Vec<_> =
            ["absolute", "out", "up"].map(|n| format!("Only in {}: {n}", tree.display())).into();
        let expect = [expect, vec![format!("Only in {}: lost+found", place.display())]].concat();
        assert!(differ.iter().all(|line| expect.iter().any(|e| e == line)), "{options:?}: {said}");
        assert_eq!(differ.len(), 4, "{options:?}: {said}");
        let meta = |name: &str| place.join(name).metadata().unwrap();
        assert_eq!(meta("other-name").ino(), meta("d/e/large").ino());
        assert_eq!(meta("d/small").mode() & 0o777, 0o640);
        assert_eq!((meta("sparse").len(), meta("sparse").blocks() < 1024), (1 << 26, true));
        assert_eq!(meta("d/small").mtime(), tree.join("d/small").metadata().unwrap().mtime());
        fs::remove_dir_all(&place).unwrap();
    }
}

#[test]
fn names_that_wait_take_no_more_memory_than_there_is_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let tree = sample(dir.path());
    let Some(path) = image(dir.path(), &tree, &[]) else { return };
    let ext4 = Ext4::open(&path).unwrap();
    let root = ext4.lookup(b"/", Follow::Yes).unwrap();
    let place = dir.path().join("out");
    // For all names of the largest directory, and not for half of them.
    let extract = |limit| {
        ext4.extract_within(&root, Target::begin(&place, 0o022).unwrap(), Budget::of(limit))
    };
    assert!(matches!(extract(75_000), Err(ReadError::Limit { what: "bytes of names", .. })));
    assert!(!place.exists());
    extract(200_000).unwrap();
}

#[test]
fn one_question_reads_an_image_only_so_often() {
    let dir = tempfile::tempdir().unwrap();
    let tree = sample(dir.path());
    let Some(path) = image(dir.path(), &tree, &["-b", "4096"]) else { return };
    let ext4 = Ext4::open(&path).unwrap();
    let file = ext4.lookup(b"/d/e/large", Follow::Yes).unwrap();
    let limit = 16 * (256 << 20) + (1 << 30);
    let read_at = |so_far: u64| {
        ext4.blocks.read.store(so_far, std::sync::atomic::Ordering::Relaxed);
        ext4.read(&file, &mut |_, _| Ok(()))
    };
    read_at(limit - (4 << 20)).unwrap();
    let failed = read_at(limit - (2 << 20)).unwrap_err();
    assert!(matches!(failed, ReadError::Limit { what: "bytes read of it", .. }), "{failed}");
    // The next is another one.
    assert_eq!(text(&ext4, "/d/small").unwrap(), "small\n");
}

#[test]
fn links_are_followed_inside_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let tree = sample(dir.path());
    let Some(path) = image(dir.path(), &tree, &[]) else { return };
    let ext4 = Ext4::open(&path).unwrap();
    for path in
        ["/d/small", "d/small", "/short", "long", "/absolute", "up/../small", "/../../d//./small"]
    {
        assert_eq!(text(&ext4, path).unwrap(), "small\n", "{path}");
    }
    for (path, says) in [
        ("/nothing", "there is no /nothing"),
        ("/d/small/x", "there is no"),
        ("/out", "there is no"),
        ("/self", "more than 40 symbolic links"),
        (&"x/".repeat(4000), "more than 4095 bytes"),
    ] {
        let message = text(&ext4, path).unwrap_err().to_string();
        assert!(message.contains(says), "{path}: {message}");
    }
    let link = ext4.lookup(b"/absolute", Follow::No).unwrap();
    assert_eq!(ext4.target(&link).unwrap(), b"/d/small");
    assert_eq!(ext4.names(&ext4.lookup(b"many", Follow::Yes).unwrap()).unwrap().len(), 1500);
    let file = ext4.lookup(b"/empty", Follow::Yes).unwrap();
    assert!(matches!(ext4.names(&file), Err(ReadError::Kind { .. })));
}

#[test]
fn what_is_no_ext4_is_refused_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("nothing");
    fs::create_dir(&tree).unwrap();
    let Some(path) = image(dir.path(), &tree, &["-b", "4096"]) else { return };
    let good = fs::read(&path).unwrap();
    let check = |change: &dyn Fn(&mut Vec<u8>), says: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let message = Ext4::open(&path).unwrap_err().to_string();
        assert!(message.contains(says), "{says}: {message}");
    };
    let put = |at: usize, value: u32| {
        move |bytes: &mut Vec<u8>| bytes[1024 + at..][..4].copy_from_slice(&value.to_le_bytes())
    };
    check(&|bytes| bytes.truncate(0), "it has 0 bytes");
    check(&|bytes| bytes.truncate(2047), "it has 2047 bytes");
    check(&|bytes| bytes.truncate(100 << 20), "its file only");
    check(&|bytes| bytes[1024..2048].fill(0), "no superblock");
    check(&put(0x18, 3), "blocks of 2^13 bytes");
    check(&put(0x18, u32::MAX), "where a guest needs");
    check(&put(0x4, u32::MAX), "its file only");
    check(&put(0x150, u32::MAX), "number of blocks");
    check(&put(0x20, 0), "blocks in a group");
    check(&put(0x28, 0), "inodes in a group");
    check(&put(0x28, u32::MAX), "inodes in a group");
    check(&put(0x58, 0), "size of an inode");
    check(&put(0x58, 0xffff), "size of an inode");
    check(&put(0x14, 7), "first block");
    check(&put(0x60, 0x8), "journal of another");
    check(&put(0x60, 0x1_0002), "features 0x10000 are not known");
}
