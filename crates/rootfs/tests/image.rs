//! Whole images: built from layers, judged by e2fsck, read back with mkext4's
//! reader.

// The package's own unit tests use the rest of it.
#[allow(dead_code)]
#[path = "../src/testing.rs"]
mod testing;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use microagent_rootfs::{BuildReport, BuildRequest, DiskSize, ErrorKind, LayerInput, Limits};
use mkext4::reader::Fs;
use mkext4::spec::inode::FileType;
use sha2::{Digest, Sha256};

/// A little of everything that layers bring.
const EVERYTHING: &[&str] = &[
    "d ./ mode=755; d usr; d usr/bin; s bin usr/bin; f usr/bin/su setuid mode=4755;
     d tmp mode=1777; d dev; c dev/null 1:3 mode=666; b dev/big 259:70000; p pipe;
     f big-ids x uid=100000 gid=3000000000; f times x mtime=1700000000.123456789;
     f late x mtime=5000000000.5; f early x mtime=-1.5; f empty ; z zeros 1000000;
     f cap x security.capability=binary user.empty= user.long=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789;
     s short target; s long aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
     f gone 1; d opaque; f opaque/old 1; d lost+found mode=700",
    "f .wh.gone; f opaque/.wh..wh..opq; f opaque/new 2; h bin/link usr/bin/su; f bin/foo bar",
];

fn build(dir: &Path, layers: &[LayerInput], size: DiskSize, identity: &str) -> BuildReport {
    let request = BuildRequest { layers, size, identity, limits: Limits::default() };
    let out = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(dir.join("root.ext4"))
        .unwrap();
    microagent_rootfs::build(&request, &out, &|_| {}).unwrap()
}

fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

/// e2fsck's verdict; `false` when it is not there to judge.
fn fsck(image: &Path) -> bool {
    let found = ["/sbin/e2fsck", "/usr/sbin/e2fsck"].into_iter().find(|p| Path::new(p).exists());
    let Some(e2fsck) = found else {
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(!required.contains("e2fsck") && !required.contains("all"), "e2fsck is required");
        eprintln!("SKIP: no e2fsck to judge the image with");
        return false;
    };
    let output = Command::new(e2fsck).arg("-fn").arg(image).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

fn listing(image: &Path) -> Vec<String> {
    let fs = Fs::open(File::open(image).unwrap()).unwrap();
    assert!(fs.verify().unwrap().is_empty());
    let mut out = Vec::new();
    let mut pending = vec![(2, String::new())];
    while let Some((ino, prefix)) = pending.pop() {
        let mut entries = fs.read_dir(ino).unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            if matches!(&entry.name[..], b"." | b".." | b"lost+found") || entry.inode == 0 {
                continue;
            }
            let path = format!("{prefix}/{}", String::from_utf8_lossy(&entry.name));
            let inode = fs.inode(entry.inode).unwrap();
            let detail = match inode.file_type() {
                FileType::Regular if inode.size > 100 => format!("<{}>", inode.size),
                FileType::Regular => {
                    String::from_utf8_lossy(&fs.read_file(entry.inode).unwrap()).into_owned()
                }
                FileType::Symlink => {
                    String::from_utf8_lossy(&fs.symlink_target(entry.inode).unwrap()).into_owned()
                }
                FileType::CharDev | FileType::BlockDev => {
                    format!("{:?}", inode.dev_numbers().unwrap())
                }
                _ => String::new(),
            };
            let xattrs: Vec<String> = fs
                .xattrs(entry.inode)
                .unwrap()
                .iter()
                .map(|x| {
                    let name = x.full_name().unwrap();
                    format!("{}={}", name.escape_ascii(), x.value.escape_ascii())
                })
                .collect();
            let (seconds, nanoseconds) =
                mkext4::spec::Inode::timestamp(inode.mtime, inode.mtime_extra);
            out.push(
                format!(
                    "{path} {:o} {}:{} {}.{:09} n{} {detail} {}",
                    inode.mode,
                    inode.uid,
                    inode.gid,
                    seconds,
                    nanoseconds,
                    inode.links_count,
                    xattrs.join(" ")
                )
                .trim_end()
                .to_owned(),
            );
            if inode.file_type() == FileType::Dir {
                pending.push((entry.inode, path));
            }
        }
    }
    out.sort();
    out
}

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
        format!("/bin 120644 0:0 {t} n1 usr/bin"),
        format!(
            "/cap 100644 0:0 {t} n1 x user.long={digits} user.empty= security.capability=binary"
        ),
        format!("/dev 40755 0:0 {t} n2"),
        format!("/dev/big 60644 0:0 {t} n1 (259, 70000)"),
        format!("/dev/null 20666 0:0 {t} n1 (1, 3)"),
        "/early 100644 0:0 -2.500000000 n1 x".to_owned(),
        format!("/empty 100644 0:0 {t} n1"),
        "/late 100644 0:0 5000000000.500000000 n1 x".to_owned(),
        format!("/long 120644 0:0 {t} n1 {a}"),
        format!("/opaque 40755 0:0 {t} n2"),
        format!("/opaque/new 100644 0:0 {t} n1 2"),
        format!("/pipe 10644 0:0 {t} n1"),
        format!("/short 120644 0:0 {t} n1 target"),
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
fn sizes() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..150u32 << 18).flat_map(u32::to_le_bytes).collect();
    let mut archive = testing::member(b"data", tar::EntryType::Regular, b"", &content);
    archive.extend(testing::archive("f after x"));
    let layer =
        testing::layer_file(dir.path(), "big", &archive, microagent_rootfs::Compression::None);
    let layers = [layer];
    let image = dir.path().join("root.ext4");
    let request =
        |size| BuildRequest { layers: &layers, size, identity: "i", limits: Limits::default() };
    let out = File::create(&image).unwrap();
    let try_build = |size| microagent_rootfs::build(&request(size), &out, &|_| {});
    let minimum = try_build(DiskSize::Default).unwrap().minimum_mib;
    assert!((150..190).contains(&minimum), "{minimum}");
    // What is named as enough is enough, and all of it is there.
    let report = try_build(DiskSize::MiB(minimum as u32)).unwrap();
    assert_eq!(report.size_bytes, minimum << 20);
    fsck(&image);
    let fs = Fs::open(File::open(&image).unwrap()).unwrap();
    assert!(fs.read_file(fs.resolve("/data").unwrap()).unwrap() == content);
    assert_eq!(fs.read_file(fs.resolve("/after").unwrap()).unwrap(), b"x");
    for mib in [0, 1, 127, 128, 150] {
        let error = try_build(DiskSize::MiB(mib)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooSmall);
        assert!(error.to_string().contains(&format!("needs {minimum} MiB")), "{error}");
    }
    assert_eq!(try_build(DiskSize::MiB(u32::MAX)).unwrap_err().kind(), ErrorKind::Usage);
}

/// Sizes at which the last group is too short, or alone in its set.
#[test]
fn odd_sizes_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let layers = testing::layers(dir.path(), EVERYTHING);
    let image = dir.path().join("root.ext4");
    for mib in [128, 129, 257, 513, 1025, 2048, 2049, 2050, 2100, 4097, 10_000] {
        let report = build(dir.path(), &layers, DiskSize::MiB(mib), "i");
        assert_eq!(report.size_bytes, u64::from(mib) << 20);
        assert_eq!(std::fs::metadata(&image).unwrap().len(), report.size_bytes);
        if !fsck(&image) {
            return;
        }
    }
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
    let layer =
        testing::layer_file(dir.path(), "l", &archive, microagent_rootfs::Compression::None);
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

#[test]
fn large_directories_are_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..3000).map(|i| format!("f d/some-longer-name-{i} {i};")).collect();
    let layers = testing::layers(dir.path(), &[&text]);
    build(dir.path(), &layers, DiskSize::MiB(128), "i");
    let image = dir.path().join("root.ext4");
    fsck(&image);
    assert_eq!(listing(&image).len(), 3001);
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
        let layer =
            testing::layer_file(dir.path(), "l", &archive, microagent_rootfs::Compression::None);
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
    assert_eq!(report.inodes, 1);
}
