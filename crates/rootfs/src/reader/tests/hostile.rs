//! Images that lie, each in one thing.

use std::fs::File;
use std::io::Write;

use super::super::*;
use super::sample::{BLOCK, Sample};
use crate::{Extracted, Target};

pub(super) fn open(sample: &Sample) -> Result<Ext4, ReadError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&sample.0).unwrap();
    Ext4::of(file)
}

pub(super) fn content(ext4: &Ext4, path: &str) -> Result<Vec<u8>, ReadError> {
    let node = ext4.lookup(path.as_bytes(), Follow::Yes)?;
    let mut content = vec![0; node.meta().size as usize];
    ext4.read(&node, &mut |offset, bytes| {
        content[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    })?;
    Ok(content)
}

fn extract(sample: &Sample) -> Result<Extracted, ReadError> {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out");
    let done = open(sample).and_then(|ext4| {
        ext4.extract(ext4.lookup(b"/", Follow::Yes)?, Target::begin(&place, 0o022)?)
    });
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, usize::from(done.is_ok()), "a half of it is left");
    done
}

#[test]
fn an_image_that_does_not_lie_is_read() {
    let sample = Sample::new();
    let ext4 = open(&sample).unwrap();
    assert_eq!(content(&ext4, "/f").unwrap(), [&[b'a'; BLOCK][..], &[b'b'; 476]].concat());
    assert_eq!(content(&ext4, "/d/tree").unwrap(), [b'b'; BLOCK]);
    assert_eq!(content(&ext4, "/l").unwrap().len(), 1500);
    let done = extract(&sample).unwrap();
    assert_eq!((done.entries, done.bytes, done.left_out_count), (7, 2524, 0));
}

#[test]
fn every_lie_is_refused() {
    let check = |change: &dyn Fn(&mut Sample), says: &str| {
        let mut sample = Sample::new();
        change(&mut sample);
        let message = crate::reader::tests::hostile::chain(&extract(&sample).unwrap_err());
        assert!(message.contains(says), "{says}: {message}");
    };
    let names = |list: &'static [(u32, &'static [u8])]| move |s: &mut Sample| s.names(9, list);
    let extents =
        |number, list: &'static [(u32, u16, u64)]| move |s: &mut Sample| s.extents(number, 0, list);
    let inode = Sample::inode_at;
    // Directories.
    check(&names(&[(12, b"."), (2, b".."), (2, b"loop")]), "inode 2 is in two places");
    check(&names(&[(12, b"self")]), "inode 12 is in two places");
    check(&names(&[(99, b"far")]), "no inode 99");
    check(&names(&[(11, b"a/b")]), "an entry that is none");
    check(&names(&[(11, b"a\0b")]), "an entry that is none");
    check(&names(&[(11, b"f"), (13, b"f")]), "exists");
    check(&|s| s.set16(9 * BLOCK + 4, 0), "an entry that is none");
    check(&|s| s.set16(9 * BLOCK + 4, 6), "an entry that is none");
    check(&|s| s.set16(9 * BLOCK + 4, 2000), "an entry that is none");
    check(&|s| s.0[9 * BLOCK + 6] = 255, "an entry that is none");
    check(
        &|s| {
            s.inode(12, 0o40755, 1 << 40, 0x8_0000);
        },
        "bytes in a directory",
    );
    // Extents.
    check(&extents(11, &[(0, 1, 10), (0, 1, 11)]), "do not ascend");
    check(&extents(11, &[(0, 2, 10), (1, 1, 11)]), "do not ascend");
    check(&extents(11, &[(0, 0, 10)]), "do not ascend");
    check(&extents(11, &[(u32::MAX, 2, 10)]), "do not ascend");
    check(&extents(11, &[(0, 1, 64)]), "no block 64");
    check(&extents(11, &[(0, 1, u64::MAX)]), "no block");
    check(&extents(11, &[(0, 2, 63)]), "no block 63");
    check(&|s| s.set16(inode(11) + 0x28, 0), "a node that is none");
    check(&|s| s.set16(inode(11) + 0x2a, 5), "a node that is none");
    check(&|s| s.set16(inode(11) + 0x2e, 6), "a node that is none");
    check(&|s| s.index(13, &[(0, 12), (1, 12)]), "do not ascend");
    check(&|s| s.index(13, &[(0, 99)]), "no block 99");
    check(&|s| s.node(12 * BLOCK, 340, 1, 1), "a node that is none");
    check(&|s| s.node(12 * BLOCK, 340, 0, 0), "an empty one");
    // Inodes.
    check(&|s| s.set16(inode(13), 0o644), "of kind");
    check(
        &|s| {
            s.inode(13, 0o100644, u64::MAX, 0x8_0000);
        },
        "bytes long",
    );
    check(
        &|s| {
            s.inode(13, 0o100644, 10, 0);
        },
        "not in extents",
    );
    check(
        &|s| {
            s.inode(13, 0o100644, 10, 0x1000_0000);
        },
        "stand in their inode",
    );
    check(
        &|s| {
            s.inode(13, 0o100644, 10, 0x8_0800);
        },
        "encrypted",
    );
    check(
        &|s| {
            s.inode(15, 0o120777, 1 << 40, 0x8_0000);
        },
        "bytes in a link target",
    );
    check(&|s| s.set32(2 * BLOCK + 8, u32::MAX), "no block");
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn a_claim_of_terabytes_costs_nothing() {
    let mut sample = Sample::new();
    sample.inode(13, 0o100644, 1 << 40, 0x8_0000);
    // Bytes of content: `f` and one block of `tree`.
    assert_eq!(extract(&sample).unwrap().bytes, 2524);
}

#[test]
fn an_image_that_is_cut_off_is_refused() {
    let sample = Sample::new();
    for length in [0, 1024, 2048, 60 * BLOCK] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&sample.0[..length]).unwrap();
        assert!(inspect(&file).is_err(), "{length}");
        assert!(Ext4::of(file).is_err(), "{length}");
    }
    let null = File::open("/dev/null").unwrap();
    assert!(matches!(inspect(&null), Err(ReadError::NotExt4(_))));
}
