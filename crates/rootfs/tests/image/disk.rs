//! Building a disk and looking at it.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use microagent_rootfs::{BuildReport, BuildRequest, DiskSize, LayerInput, Limits};
use mkext4::reader::Fs;
use mkext4::spec::inode::FileType;

/// A little of everything that layers bring.
pub(crate) const EVERYTHING: &[&str] = &[
    "d ./ mode=755; d usr; d usr/bin; s bin usr/bin; f usr/bin/su setuid mode=4755;
     d tmp mode=1777; d dev; c dev/null 1:3 mode=666; b dev/big 259:70000; p pipe;
     f big-ids x uid=100000 gid=3000000000; f times x mtime=1700000000.123456789;
     f late x mtime=5000000000.5; f early x mtime=-1.5; f empty ; z zeros 1000000;
     f cap x security.capability=binary user.empty= user.long=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789;
     s short target; s long aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
     f gone 1; d opaque; f opaque/old 1; d lost+found mode=700",
    "f .wh.gone; f opaque/.wh..wh..opq; f opaque/new 2; h bin/link usr/bin/su; f bin/foo bar",
];

pub(crate) fn build(
    dir: &Path,
    layers: &[LayerInput],
    size: DiskSize,
    identity: &str,
) -> BuildReport {
    let request = BuildRequest { layers, size, identity, limits: Limits::default() };
    let out = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(dir.join("root.ext4"))
        .unwrap();
    let report = microagent_rootfs::build(&request, &out, &|_| {}).unwrap();
    assert!(Fs::open(out).unwrap().verify().unwrap().is_empty());
    report
}

/// e2fsck's verdict; `false` when it is not there to judge.
pub(crate) fn fsck(image: &Path) -> bool {
    let found = ["/sbin/e2fsck", "/usr/sbin/e2fsck"].into_iter().find(|p| Path::new(p).exists());
    let Some(e2fsck) = found else {
        assert!(!required("e2fsck"), "e2fsck is required");
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

/// Whether a missing `tool` is a failure rather than a skip.
pub(crate) fn required(tool: &str) -> bool {
    let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
    required.split(',').any(|word| word == tool || word == "all")
}

/// A line per name: mode, owner, time, links, content and attributes.
pub(crate) fn listing(image: &Path) -> Vec<String> {
    let fs = Fs::open(File::open(image).unwrap()).unwrap();
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
