//! How large the disk is.

use std::fs::File;

use microagent_rootfs::{BuildRequest, Compression, DiskSize, ErrorKind, Limits};
use mkext4::reader::Fs;

use crate::disk::{EVERYTHING, build, fsck};
use crate::testing;

#[test]
fn sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = vec![1; 150 << 20];
    for (i, block) in content.chunks_mut(4096).enumerate() {
        block[..8].copy_from_slice(&i.to_le_bytes());
    }
    let mut archive = testing::member(b"data", tar::EntryType::Regular, b"", &content);
    archive.extend(testing::archive("f after x"));
    let layer = testing::layer_file(dir.path(), "big", &archive, Compression::None);
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
    for mib in [0, 127, 150] {
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
    for mib in [128, 129, 257, 2048, 2049, 2100, 4097] {
        let report = build(dir.path(), &layers, DiskSize::MiB(mib), "i");
        assert_eq!(report.size_bytes, u64::from(mib) << 20);
        assert_eq!(std::fs::metadata(&image).unwrap().len(), report.size_bytes);
        if !fsck(&image) {
            return;
        }
    }
}
