//! What is in the disk.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use microagent_rootfs::{BuildRequest, Compression, DiskSize, ErrorKind, Limits};
use mkext4::reader::Fs;
use sha2::{Digest, Sha256};

use crate::disk::{EVERYTHING, build, fsck, listing};
use crate::testing;

#[test]
fn everything_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let layers = testing::layers(dir.path(), EVERYTHING);
    let report = build(dir.path(), &layers, DiskSize::Default, "sha256:1");
    let image = dir.path().join("root.ext4");
    assert_eq!(report.size_bytes, 1 << 30);
    assert_eq!(report.minimum_mib, 128);
    fsck(&image);
    let meta = std::fs::metadata(&image).unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(meta.blocks() * 512 < 4 << 20, "{} blocks of a nearly empty disk", meta.blocks());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "no scratch is left");
    let a = "a".repeat(94);
    let digits = "0123456789".repeat(10);
    let t = "1000000000.000000000";
    let expect = [
        format!("/big-ids 100644 100000:3000000000 {t} n1 x"),
        format!("/bin 120777 0:0 {t} n1 usr/bin"),
        format!(
            "/cap 100644 0:0 {t} n1 x user.long={digits} user.empty= security.capability=binary"
        ),
        format!("/dev 40755 0:0 {t} n2"),
        format!("/dev/big 60644 0:0 {t} n1 (259, 70000)"),
        format!("/dev/null 20666 0:0 {t} n1 (1, 3)"),
        "/early 100644 0:0 -2.500000000 n1 x".to_owned(),
        format!("/empty 100644 0:0 {t} n1"),
        "/late 100644 0:0 5000000000.500000000 n1 x".to_owned(),
        format!("/long 120777 0:0 {t} n1 {a}"),
        format!("/opaque 40755 0:0 {t} n2"),
        format!("/opaque/new 100644 0:0 {t} n1 2"),
        format!("/pipe 10644 0:0 {t} n1"),
        // Mount points that the image does not have.
        "/proc 40755 0:0 0.000000000 n2".to_owned(),
        "/sys 40755 0:0 0.000000000 n2".to_owned(),
        format!("/short 120777 0:0 {t} n1 target"),
        "/times 100644 0:0 1700000000.123456789 n1 x".to_owned(),
        format!("/tmp 41777 0:0 {t} n2"),
        format!("/usr 40755 0:0 {t} n3"),
        format!("/usr/bin 40755 0:0 {t} n2"),
        format!("/usr/bin/foo 100644 0:0 {t} n1 bar"),
        format!("/usr/bin/link 104755 0:0 {t} n2 setuid"),
        format!("/usr/bin/su 104755 0:0 {t} n2 setuid"),
        format!("/zeros 100644 0:0 {t} n1 <1000000>"),
    ];
    let mut got = listing(&image);
    let mut expect = expect.to_vec();
    for list in [&mut got, &mut expect] {
        list.iter_mut().filter(|l| l.starts_with("/cap")).for_each(|line| {
            let mut words: Vec<_> = line.split(' ').collect();
            words.sort_unstable();
            *line = words.join(" ");
        });
        list.sort();
    }
    assert_eq!(got, expect);
}

#[test]
fn same_request_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let layers = testing::layers(dir.path(), EVERYTHING);
    let image = dir.path().join("root.ext4");
    let mut digests = Vec::new();
    for (size, identity) in [
        (DiskSize::MiB(128), "sha256:1"),
        (DiskSize::MiB(128), "sha256:1"),
        (DiskSize::MiB(128), "sha256:2"),
        (DiskSize::MiB(129), "sha256:1"),
    ] {
        build(dir.path(), &layers, size, identity);
        fsck(&image);
        digests.push(digest(&image));
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    assert_ne!(digests[0], digests[3]);
}

#[test]
fn holes_take_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = testing::pax(&[
        ("GNU.sparse.size", b"1099511627776"),
        ("GNU.sparse.map", b"4096,4,549755813888,4"),
        ("GNU.sparse.name", b"huge"),
    ]);
    archive.extend(testing::member(b"x", tar::EntryType::Regular, b"", b"onetwo!!"));
    archive.extend(testing::archive("z zeros 100000000; f after x"));
    let layer = testing::layer_file(dir.path(), "l", &archive, Compression::None);
    let report = build(dir.path(), &[layer], DiskSize::Default, "i");
    let image = dir.path().join("root.ext4");
    fsck(&image);
    assert_eq!(report.size_bytes, 1 << 30);
    assert_eq!(report.content_bytes, 2 * 4096 + 100_000_000 + 1);
    let blocks = std::fs::metadata(&image).unwrap().blocks();
    assert!(blocks * 512 < 4 << 20, "{blocks} blocks");
    let fs = Fs::open(File::open(&image).unwrap()).unwrap();
    let ino = fs.resolve("/huge").unwrap();
    let inode = fs.inode(ino).unwrap();
    assert_eq!(inode.size, 1 << 40);
    let extents = fs.extents(ino, &inode).unwrap();
    assert_eq!(extents.iter().map(|e| e.len).sum::<u32>(), 2);
    let mut bytes = [9; 8];
    for (offset, want) in [(4096, b"onet"), (1 << 39, b"wo!!"), (0, &[0; 4])] {
        fs.read_file_at(&inode, &extents, offset, &mut bytes).unwrap();
        assert_eq!(bytes[..4], want[..]);
        assert_eq!(bytes[4..], [0; 4]);
    }
}

/// Directories that every disk has.
const MOUNT_POINTS: usize = 3;

#[test]
fn large_directories_are_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..3000).map(|i| format!("f d/some-longer-name-{i} {i};")).collect();
    let layers = testing::layers(dir.path(), &[&text]);
    build(dir.path(), &layers, DiskSize::MiB(128), "i");
    let image = dir.path().join("root.ext4");
    fsck(&image);
    assert_eq!(listing(&image).len(), 3001 + MOUNT_POINTS);
}

#[test]
fn what_ext4_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let raw = |name: &[u8]| testing::member(name, tar::EntryType::Regular, b"", b"");
    let attribute = vec![b'x'; 5000];
    let big = testing::pax(&[("SCHILY.xattr.user.big", &attribute)]);
    let acl = testing::pax(&[("SCHILY.xattr.system.posix_acl_access", b"rubbish")]);
    for (archive, says) in [
        (raw(b"caf\xe9"), "not UTF-8"),
        ([big, raw(b"a")].concat(), "xattr"),
        ([acl, raw(b"a")].concat(), "malformed ACL"),
        (testing::archive("f lost+found x"), "lost+found"),
        (testing::archive("f lost+found/x x"), "lost+found"),
    ] {
        let archive = [archive, vec![0; 1024]].concat();
        let layer = testing::layer_file(dir.path(), "l", &archive, Compression::None);
        let request = BuildRequest {
            layers: &[layer],
            size: DiskSize::Default,
            identity: "i",
            limits: Limits::default(),
        };
        let out = File::create(dir.path().join("out")).unwrap();
        let error = microagent_rootfs::build(&request, &out, &|_| {}).expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn attributes_that_linux_has_no_place_for_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let layers = testing::layers(dir.path(), &["f a x com.apple.quarantine=1 user.kept=2"]);
    build(dir.path(), &layers, DiskSize::MiB(128), "i");
    let image = dir.path().join("root.ext4");
    fsck(&image);
    assert!(listing(&image)[0].ends_with("x user.kept=2"), "{:?}", listing(&image));
}

#[test]
fn no_layers_make_an_empty_disk() {
    let dir = tempfile::tempdir().unwrap();
    let report = build(dir.path(), &[], DiskSize::MiB(128), "i");
    fsck(&dir.path().join("root.ext4"));
    assert_eq!(report.inodes, 1 + MOUNT_POINTS as u64);
}

fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}
