//! Disks made of archives and directories.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use microagent_rootfs::{
    BundleRequest, Compression, DiskSize, ErrorKind, Ext4, Follow, Limits, Owners, RootfsError,
    Target, build_bundle, build_empty,
};

use crate::disk::fsck;
use crate::testing;

fn bundle(source: &Path, owners: Owners, limits: Limits) -> Result<Ext4, RootfsError> {
    let image = source.with_extension("ext4");
    let mut options = File::options();
    let out = options.read(true).write(true).create(true).truncate(true).open(&image).unwrap();
    let size = DiskSize::MiB(128);
    let request = BundleRequest { source, description: "it", owners, size, identity: "b", limits };
    build_bundle(&request, &out, &|_| ())?;
    fsck(&image);
    Ok(Ext4::of(out).unwrap())
}

fn meta(disk: &Ext4, path: &str) -> (u16, u32, u32) {
    let meta = disk.lookup(path.as_bytes(), Follow::No).unwrap().meta();
    (meta.mode, meta.uid, meta.gid)
}

#[test]
fn a_directory_arrives_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("d/.wh.e")).unwrap();
    fs::write(tree.join("d/.wh.e/.wh..wh..opq"), "no whiteout\n").unwrap();
    fs::write(tree.join("program"), vec![7; 3_000_000]).unwrap();
    fs::set_permissions(tree.join("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("program"), tree.join("d/again")).unwrap();
    symlink("/nowhere", tree.join("link")).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.write_all_at(b"island", 1 << 39).unwrap();
    let disk = bundle(&tree, Owners::Root, Limits::default()).unwrap();
    assert_eq!(meta(&disk, "/program"), (0o755, 0, 0), "no set-id bits");
    let links = disk.lookup(b"/d/again", Follow::No).unwrap().meta().links;
    assert_eq!(links, 2);
    for (path, absent) in [("/dev", true), ("/d/.wh.e/.wh..wh..opq", false)] {
        assert_eq!(disk.lookup(path.as_bytes(), Follow::No).is_err(), absent, "{path}");
    }
    let root = disk.lookup(b"/d", Follow::No).unwrap();
    let place = dir.path().join("copy");
    disk.extract(root, Target::begin(&place, 0o022).unwrap()).unwrap();
    assert_eq!(fs::read(place.join("again")).unwrap(), vec![7; 3_000_000]);
    let mut read = Vec::new();
    let sparse = disk.lookup(b"/sparse", Follow::No).unwrap();
    disk.read(&sparse, &mut |offset, bytes| {
        read.push((offset, bytes.len()));
        Ok(())
    })
    .unwrap();
    assert_eq!((sparse.meta().size, read), (1 << 40, vec![(1 << 39, 4096)]));
}

#[test]
fn owners_are_kept_only_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = "d ./ mode=750 uid=3; f f x uid=5 gid=6 mode=6711 security.capability=c; d d uid=7";
    let archive = dir.path().join("a.tar");
    fs::write(&archive, testing::gzip(&testing::archive(text))).unwrap();
    let root = bundle(&archive, Owners::Root, Limits::default()).unwrap();
    assert_eq!(meta(&root, "/f"), (0o711, 0, 0));
    assert_eq!((meta(&root, "/d").1, meta(&root, "/")), (0, (0o750, 0, 0)));
    let kept = bundle(&archive, Owners::Kept, Limits::default()).unwrap();
    assert_eq!(meta(&kept, "/f"), (0o6711, 5, 6));
    assert_eq!((meta(&kept, "/d").1, meta(&kept, "/")), (7, (0o750, 3, 0)));
}

#[test]
fn sources_are_held_to_the_limits_of_layers() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..20 {
        fs::write(tree.join(format!("{n}")), vec![1; 100_000]).unwrap();
    }
    let check = |limits, says: &str| {
        let error = bundle(&tree, Owners::Root, limits).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let default = Limits::default();
    check(Limits { entries: 10, ..default }, "archive members");
    check(Limits { inodes: 10, ..default }, "inodes");
    check(Limits { total_bytes: 1 << 20, ..default }, "uncompressed bytes");
    check(Limits { metadata_bytes: 20, ..default }, "bytes of names");
    let missing = bundle(&dir.path().join("missing"), Owners::Root, default);
    assert_eq!(missing.map(drop).unwrap_err().kind(), ErrorKind::Io);
    let layer = testing::layer_file(dir.path(), "x", b"rubbish", Compression::None);
    let rubbish = bundle(&layer.path, Owners::Root, default).map(drop).unwrap_err();
    assert_eq!(rubbish.kind(), ErrorKind::Corrupt);
}

#[test]
fn an_empty_disk_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut options = File::options();
    let out = options.read(true).write(true).create_new(true).open(&image).unwrap();
    build_empty(DiskSize::MiB(128), "e", &out).unwrap();
    fsck(&image);
    let disk = Ext4::of(out).unwrap();
    let names = disk.names(&disk.lookup(b"/", Follow::No).unwrap()).unwrap();
    assert_eq!(names.iter().map(|n| &n.bytes[..]).collect::<Vec<_>>(), [b"lost+found"]);
}
