//! Disks made by a mke2fs: the same contents as the built-in writer's.

use std::path::{Path, PathBuf};

use microagent_rootfs::{
    BuildRequest, Compression, DiskSize, ErrorKind, LayerInput, Limits, build_with_mke2fs,
};

use crate::disk::{build, fsck, listing, required};
use crate::testing::{gzip, layer_file};
use crate::umoci::archives;

fn layers(dir: &Path) -> Vec<LayerInput> {
    let archives = archives();
    let numbered = archives.iter().enumerate();
    numbered
        .map(|(i, bytes)| layer_file(dir, &i.to_string(), &gzip(bytes), Compression::Gzip))
        .collect()
}

fn request(layers: &[LayerInput], size: DiskSize) -> BuildRequest<'_> {
    BuildRequest { layers, size, identity: "i", limits: Limits::default() }
}

/// An executable that stands for a mke2fs.
fn stand_in(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("mke2fs");
    microagent_tests_scripts::write(&path, &format!("#!/bin/sh\n{script}\n"));
    path
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Nanoseconds are lost on older ones.
fn whole_seconds(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| line.replace(".123456789 ", ".000000000 ")).collect()
}

#[test]
fn the_installed_one() {
    let dir = tempfile::tempdir().unwrap();
    let layers = layers(dir.path());
    let mke2fs = ["/sbin/mke2fs", "/usr/sbin/mke2fs"].into_iter().map(Path::new);
    let Some(mke2fs) = mke2fs.into_iter().find(|path| path.exists()) else {
        assert!(!required("mke2fs"), "mke2fs is required");
        eprintln!("SKIP: no mke2fs");
        return;
    };
    let image = dir.path().join("theirs.ext4");
    let before = names(dir.path());
    let result = build_with_mke2fs(&request(&layers, DiskSize::Default), mke2fs, &image, &|_| {});
    let report = match result {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            assert!(error.to_string().contains("1.47.1"), "{error}");
            assert!(!required("mke2fs"), "{error}");
            eprintln!("SKIP: {error}");
            return;
        }
        result => result.unwrap(),
    };
    assert_eq!(names(dir.path()).len(), before.len() + 1, "nothing but the disk is new");
    assert_eq!(report.size_bytes, 1 << 30);
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 1 << 30);
    fsck(&image);
    build(dir.path(), &layers, DiskSize::Default, "i");
    let ours = listing(&dir.path().join("root.ext4"));
    assert_eq!(whole_seconds(listing(&image)), whole_seconds(ours));
}

#[test]
fn a_newer_one_gets_a_tar() {
    let dir = tempfile::tempdir().unwrap();
    let layers = layers(dir.path());
    let mke2fs = stand_in(
        dir.path(),
        r#"for out; do :; done; echo "$@" >>"$0.args"
        printf '\123\357' | dd of="$out" bs=1 seek=1080 conv=notrunc 2>/dev/null
        exec cat >"${out%.trial}.tar""#,
    );
    let image = dir.path().join("theirs.ext4");
    build_with_mke2fs(&request(&layers, DiskSize::MiB(256)), &mke2fs, &image, &|_| {}).unwrap();
    let args = std::fs::read_to_string(dir.path().join("mke2fs.args")).unwrap();
    assert_eq!(args.lines().count(), 2);
    assert!(args.lines().all(|line| line.contains(" -d - /")), "{args}");
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 256 << 20);

    let bytes = std::fs::read(dir.path().join("theirs.ext4.tar")).unwrap();
    let merged = layer_file(dir.path(), "merged", &bytes, Compression::None);
    let image = dir.path().join("root.ext4");
    build(dir.path(), &[merged], DiskSize::MiB(256), "i");
    let from_tar = listing(&image);
    build(dir.path(), &layers, DiskSize::MiB(256), "i");
    assert_eq!(from_tar, listing(&image));
}

#[test]
fn ones_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let layers = layers(dir.path());
    let image = dir.path().join("theirs.ext4");
    let attempt = |mke2fs: &Path, size| {
        build_with_mke2fs(&request(&layers, size), mke2fs, &image, &|_| {}).unwrap_err()
    };
    let error = attempt(Path::new("/no/such/mke2fs"), DiskSize::Default);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("/no/such/mke2fs"), "{error}");
    let error = attempt(&stand_in(dir.path(), "cat >/dev/null"), DiskSize::MiB(64));
    assert_eq!(error.kind(), ErrorKind::TooSmall);
    let before = names(dir.path());
    let failing = stand_in(dir.path(), "echo out of luck >&2; exit 1");
    let error = attempt(&failing, DiskSize::Default);
    let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    if rustix::process::geteuid().is_root() {
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(text.contains("out of luck"), "{text}");
    } else {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(text.contains("1.47.1"), "{text}");
    }
    assert_eq!(names(dir.path()), before, "nothing is left");
}
