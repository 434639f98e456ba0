//! The same image, unpacked by umoci: what it puts on a disk is what the image
//! must hold.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use microagent_rootfs::{Compression, DiskSize, LayerInput};
use sha2::{Digest, Sha256};

use crate::disk::{build, fsck, listing, required};
use crate::testing::{archive, gzip, layer_file, member, pax};

/// Version 2 file capabilities with CAP_NET_RAW, effective; a newline is in it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Layers that use whiteouts, links, devices, owners and attributes.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    let capable = [
        pax(&[("SCHILY.xattr.security.capability", &CAPABILITY)]),
        member(b"usr/bin/ping", tar::EntryType::Regular, b"", b"ping"),
    ];
    let text = "d ./ mode=755; d usr; d usr/bin; d usr/sbin mode=750 uid=3 gid=4; s bin usr/bin;
        s sbin /usr/sbin; f usr/bin/su su mode=6755; h usr/bin/su2 usr/bin/su; d tmp mode=1777;
        d dev; c dev/null 1:3 mode=666; b dev/sda 8:1 mode=660 gid=6; p run/pipe;
        f etc/a 1; f etc/b 2 mtime=1700000000.123456789; f etc/c 3 user.k=v; d etc/d mode=711;
        f etc/d/x 4; f etc/d/y 5; f etc/e/x 6; d file-later; f file-later/x 7; f dir-later 8;
        f linked 9; s link-later etc; f big uid=100000 gid=70000 mode=600; z zeros 100000";
    vec![
        [capable.concat(), archive(text)].concat(),
        archive(
            "f .wh.linked; f bin/added 1; f sbin/added 2; f etc/.wh.a; h etc/b2 etc/b;
             d etc/d mode=700 user.new=1; f etc/d/new 3; f etc/d/.wh..wh..opq; f file-later now;
             d dir-later; f dir-later/x 4; d link-later; f etc/e/.wh.x; f usr/bin/.wh.su;
             f deep/er/file 5; f not-there/.wh.x",
        ),
        archive("f linked again; h etc/d/hard linked; f .wh.big; f etc/c 4; f bin/.wh.added"),
    ]
}

#[test]
fn the_same_as_umoci_unpacks() {
    let found = Command::new("umoci").arg("--version").output().is_ok();
    if !found || !rustix::process::geteuid().is_root() {
        assert!(!required("umoci"), "umoci, as root, is required");
        eprintln!("SKIP: umoci, run as root, is needed to compare with");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let archives = archives();
    let layers: Vec<LayerInput> = archives
        .iter()
        .enumerate()
        .map(|(i, bytes)| layer_file(dir.path(), &i.to_string(), &gzip(bytes), Compression::Gzip))
        .collect();
    layout(&dir.path().join("oci"), &archives);
    let output = Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}/oci:t", dir.path().display()))
        .arg(dir.path().join("bundle"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut unpacked = Vec::new();
    walk(&dir.path().join("bundle/rootfs"), "", &mut unpacked);
    unpacked.sort();
    build(dir.path(), &layers, DiskSize::MiB(128), "sha256:1");
    let image = dir.path().join("root.ext4");
    fsck(&image);
    // The mount points that the image does not have are ours.
    let ours = ["/proc 40755 0:0 0.000000000 n2", "/sys 40755 0:0 0.000000000 n2"];
    let listed = listing(&image).into_iter().filter(|line| !ours.contains(&line.as_str()));
    let built: Vec<String> = listed.map(without_implied_times).collect();
    assert_eq!(built, unpacked);
}

/// Directories that no layer lists have no time of their own; umoci's is
/// whenever it ran.
fn without_implied_times(line: String) -> String {
    let implied = ["/etc ", "/etc/e ", "/run ", "/deep ", "/deep/er "];
    if implied.iter().any(|start| line.starts_with(start)) {
        let words: Vec<_> = line.split(' ').collect();
        return [&words[..3], &["-"], &words[4..]].concat().join(" ");
    }
    line
}

/// `archives` as the image `t` of an OCI layout at `dir`.
fn layout(dir: &Path, archives: &[Vec<u8>]) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let descriptor = |media: &str, bytes: &[u8]| {
        std::fs::write(blobs.join(digest(bytes)), bytes).unwrap();
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{media}","digest":"sha256:{}","size":{}"#,
            digest(bytes),
            bytes.len()
        )
    };
    let ids: Vec<_> = archives.iter().map(|a| format!(r#""sha256:{}""#, digest(a))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let layers: Vec<_> =
        archives.iter().map(|a| descriptor("layer.v1.tar+gzip", &gzip(a)) + "}").collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{}}},"layers":[{}]}}"#,
        descriptor("config.v1+json", config.as_bytes()),
        layers.join(",")
    );
    let manifest = descriptor("manifest.v1+json", manifest.as_bytes());
    let name = r#""annotations":{"org.opencontainers.image.ref.name":"t"}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifest},{name}}}]}}"#);
    std::fs::write(dir.join("index.json"), index).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// As `listing`, of a directory.
fn walk(dir: &Path, prefix: &str, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}/{}", path.file_name().unwrap().to_str().unwrap());
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let line = format!(
            "{name} {:o} {}:{} {}.{:09} n{} {} {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.nlink(),
            detail(&path, &meta),
            xattrs(&path).join(" ")
        );
        out.push(without_implied_times(line.trim_end().to_owned()));
        if meta.is_dir() {
            walk(&path, &name, out);
        }
    }
}

fn detail(path: &Path, meta: &Metadata) -> String {
    use rustix::fs::{FileType, major, minor};
    match FileType::from_raw_mode(meta.mode()) {
        FileType::RegularFile if meta.len() > 100 => format!("<{}>", meta.len()),
        FileType::RegularFile => std::fs::read_to_string(path).unwrap(),
        FileType::Symlink => std::fs::read_link(path).unwrap().to_str().unwrap().to_owned(),
        FileType::CharacterDevice | FileType::BlockDevice => {
            format!("{:?}", (major(meta.rdev()), minor(meta.rdev())))
        }
        _ => String::new(),
    }
}

fn xattrs(path: &Path) -> Vec<String> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|&b| b == 0).filter(|n| !n.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65_536];
            let key = std::ffi::OsStr::from_bytes(name);
            let length = rustix::fs::lgetxattr(path, key, &mut value[..]).unwrap();
            format!("{}={}", name.escape_ascii(), value[..length].escape_ascii())
        })
        .collect()
}
