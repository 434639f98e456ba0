//! What layers merge into, as dumps of the tree.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::merge;
use crate::spool::Spool;
use crate::testing::{MTIME, archive, finish, gzip, layer_file, layers, member, pax};
use crate::tree::{InodeId, Kind, ROOT, Tree};
use crate::{Compression, ErrorKind, LayerInput, Limits, RootfsError};

/// One line per name. Metadata is shown where it is not what `testing` gives.
pub(crate) fn dump(tree: &Tree<'_>, spool: &File) -> String {
    let mut out = String::new();
    let mut seen = HashMap::new();
    dump_directory(tree, spool, ROOT, "", &mut seen, &mut out);
    out
}

fn dump_directory(
    tree: &Tree<'_>,
    spool: &File,
    id: InodeId,
    prefix: &str,
    seen: &mut HashMap<InodeId, String>,
    out: &mut String,
) {
    for (name, entry) in &tree.directory(id).unwrap().entries {
        let path = format!("{prefix}{}", String::from_utf8_lossy(name));
        if let Some(first) = seen.get(&entry.inode) {
            writeln!(out, "{path} = {first}").unwrap();
            continue;
        }
        seen.insert(entry.inode, path.clone());
        let inode = tree.inode(entry.inode);
        let mut default = 0o644;
        match &inode.kind {
            Kind::Directory(_) => {
                default = 0o755;
                write!(out, "{path}/").unwrap();
            }
            Kind::File(content) => {
                let mut bytes = vec![0; content.size as usize];
                for run in &content.runs {
                    let range = run.offset as usize..(run.offset + run.length) as usize;
                    spool.read_exact_at(&mut bytes[range], run.spooled_at).unwrap();
                }
                if bytes.len() > 40 {
                    let sum = bytes.iter().map(|&b| u64::from(b)).sum::<u64>();
                    let runs = content.runs.len();
                    write!(out, "{path} <{} bytes, sum {sum}, {runs} runs>", bytes.len()).unwrap();
                } else {
                    write!(out, "{path} {}", String::from_utf8_lossy(&bytes)).unwrap();
                }
            }
            Kind::Symlink(target) => {
                default = 0o777;
                write!(out, "{path} -> {}", String::from_utf8_lossy(target)).unwrap();
            }
            Kind::CharDevice { major, minor } => write!(out, "{path} c {major}:{minor}").unwrap(),
            Kind::BlockDevice { major, minor } => write!(out, "{path} b {major}:{minor}").unwrap(),
            Kind::Fifo => write!(out, "{path} p").unwrap(),
            Kind::Gone => panic!("{path} is gone"),
        }
        let meta = &inode.meta;
        if meta.mode != default {
            write!(out, " mode={:o}", meta.mode).unwrap();
        }
        if (meta.uid, meta.gid) != (0, 0) {
            write!(out, " {}:{}", meta.uid, meta.gid).unwrap();
        }
        if meta.mtime != (MTIME as i64, 0) {
            write!(out, " @{}.{}", meta.mtime.0, meta.mtime.1).unwrap();
        }
        for (key, value) in &inode.xattrs {
            write!(out, " {}={}", String::from_utf8_lossy(key), value.escape_ascii()).unwrap();
        }
        out.push('\n');
        if tree.directory(entry.inode).is_some() {
            dump_directory(tree, spool, entry.inode, &format!("{path}/"), seen, out);
        }
    }
}

pub(crate) fn merged(layers: &[LayerInput], limits: Limits) -> Result<String, RootfsError> {
    let scratch = tempfile::tempfile().unwrap();
    let mut spool = Spool::beside(&scratch)?;
    let tree = merge(layers, &limits, &mut spool, &|_| {})?;
    Ok(dump(&tree, &spool.into_file().unwrap()))
}

fn check(texts: &[&str], expect: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let got = merged(&layers(dir.path(), texts), Limits::default()).unwrap();
    assert_eq!(got.lines().collect::<Vec<_>>(), expect, "{texts:?}");
}

fn check_raw(archives: &[Vec<u8>], expect: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<_> = archives
        .iter()
        .enumerate()
        .map(|(i, bytes)| {
            let bytes = [bytes.as_slice(), &[0; 1024]].concat();
            layer_file(dir.path(), &i.to_string(), &bytes, Compression::None)
        })
        .collect();
    let got = merged(&layers, Limits::default()).unwrap();
    assert_eq!(got.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn kinds_and_metadata() {
    check(
        &["d ./ mode=711; d ./usr/; f usr/a one mode=4755 uid=100000 gid=4294967294;
           s bin usr/bin; c null 1:3 mode=666; b sda 8:0; p pipe; h usr/b ./usr/a;
           d tmp mode=1777; f t x mtime=1700000000.123456789; f e user.k=v"],
        &[
            "bin -> usr/bin",
            "e  user.k=v",
            "null c 1:3 mode=666",
            "pipe p",
            "sda b 8:0",
            "t x @1700000000.123456789",
            "tmp/ mode=1777",
            "usr/",
            "usr/a one mode=4755 100000:4294967294",
            "usr/b = usr/a",
        ],
    );
}

#[test]
fn upper_layers_replace() {
    check(&["f a one", "f a two mode=600"], &["a two mode=600"]);
    check(&["f a one; h b a", "f a two"], &["a two", "b one"]);
    check(&["d a; f a/x 1; f a/y 2", "f a file"], &["a file"]);
    check(&["f a one", "d a; f a/x 1"], &["a/", "a/x 1"]);
    check(&["s a /etc", "d a; f a/x 1"], &["a/", "a/x 1"]);
    check(&["d a; f a/x 1", "s a b"], &["a -> b"]);
    check(&["f a 1; f a 2"], &["a 2"]);
    // An upper directory's metadata replaces, its entries stay.
    check(
        &["d a mode=700 user.old=1; f a/x 1", "d a mode=711 user.new=2"],
        &["a/ mode=711 user.new=2", "a/x 1"],
    );
    // One that is only passed through is left alone.
    check(&["d a mode=700; f a/x 1", "f a/y 2"], &["a/ mode=700", "a/x 1", "a/y 2"]);
    // One that nobody lists.
    check(&["f a/b/c 1"], &["a/ @0.0", "a/b/ @0.0", "a/b/c 1"]);
    check(&["f a/b 1; d a mode=700"], &["a/ mode=700", "a/b 1"]);
}

#[test]
fn whiteouts() {
    check(&["f a 1; f b 2", "f .wh.a"], &["b 2"]);
    check(&["d a; f a/x 1; d a/y; f a/y/z 2", "f .wh.a"], &[]);
    check(&["f a/x 1; f a/y 2", "f a/.wh.x"], &["a/ @0.0", "a/y 2"]);
    check(&["f a 1", "f .wh.missing; f no/such/.wh.dir"], &["a 1"]);
    check(&["f a 1; h b a", "f .wh.a"], &["b 1"]);
    // It never hides its own layer, whichever comes first.
    check(&["f a 1", "f .wh.a; f a 2"], &["a 2"]);
    check(&["f a 1", "f a 2; f .wh.a"], &["a 2"]);
    check(&["d a; f a/old 1", "d a; f a/new 2; f .wh.a"], &["a/", "a/new 2"]);
    check(&["d a; f a/old 1", "f .wh.a; d a; f a/new 2"], &["a/", "a/new 2"]);
    // A layer that is hidden may be added again above.
    check(&["f a 1", "f .wh.a", "f a 3"], &["a 3"]);
    check(&["f a 1", "f a 2", "f .wh.a"], &[]);
    // AUFS's own names mean nothing.
    check(&["f a 1", "f .wh..wh.aufs; f .wh..wh.plnk"], &["a 1"]);
}

#[test]
fn opaque_directories() {
    check(&["d a; f a/x 1; f a/y 2", "d a; f a/.wh..wh..opq; f a/z 3"], &["a/", "a/z 3"]);
    // Wherever in its archive it stands.
    check(&["d a; f a/x 1; f a/y 2", "d a; f a/z 3; f a/.wh..wh..opq"], &["a/", "a/z 3"]);
    // What the layer repeats stays; what lies beneath that it does not, goes.
    check(
        &["f a/d/old 1; f a/e/old 2", "d a/d; f a/d/new 3; f a/.wh..wh..opq"],
        &["a/ @0.0", "a/d/", "a/d/new 3"],
    );
    check(
        &["f a/d/old 1", "f a/d/new 3; f a/.wh..wh..opq"],
        &["a/ @0.0", "a/d/ @0.0", "a/d/new 3"],
    );
    check(&["f a 1; f b 2", "f .wh..wh..opq; f c 3"], &["c 3"]);
    check(&["f a/x 1", "f a/.wh..wh..opq", "f a/y 3"], &["a/ @0.0", "a/y 3"]);
    check(&["f a 1", "f b/.wh..wh..opq"], &["a 1"]);
}

#[test]
fn hard_links() {
    check(&["f a 1", "h b a"], &["a 1", "b = a"]);
    check(&["f a 1", "f .wh.a; f c 2"], &["c 2"]);
    check(&["f d/a 1", "h d d/a"], &["d 1"]);
    check(&["s a x; h b a"], &["a -> x", "b = a"]);
    check(&["f a 1; h a a"], &["a 1"]);
    check(
        &["d usr/bin; s bin usr/bin; f usr/bin/a 1", "h b bin/a"],
        &["b 1", "bin -> usr/bin", "usr/ @0.0", "usr/bin/", "usr/bin/a = b"],
    );
    // With the content again, in both conventions, and with a size only.
    let target = member(b"a", tar::EntryType::Regular, b"", b"content");
    let link = |with: &[u8]| member(b"b", tar::EntryType::Link, b"a", with);
    let after = member(b"c", tar::EntryType::Regular, b"", b"after");
    let mut size_only = tar::Header::from_byte_slice(&link(b"")[..512]).clone();
    size_only.set_size(7);
    let expect = ["a content", "b = a", "c after"];
    for middle in [
        link(b""),
        link(b"content"),
        link(&[b'x'; 512]),
        link(&[b'x'; 1000]),
        [pax(&[("mtime", b"1000000000")]), link(b"content")].concat(),
        finish(size_only, b""),
    ] {
        check_raw(&[[target.clone(), middle, after.clone()].concat()], &expect);
    }
}

#[test]
fn parents_may_be_links() {
    let base = "d usr; d usr/bin; s bin usr/bin; f usr/bin/sh 1";
    let with_foo = &["bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/foo 2", "usr/bin/sh 1"];
    check(&[base, "f bin/foo 2"], with_foo);
    check(
        &[base, "d usr; d usr/bin; f bin/foo 2; f bin/.wh..wh..opq"],
        &["bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/foo 2"],
    );
    check(&[base, "f bin/.wh.sh"], &["bin -> usr/bin", "usr/", "usr/bin/"]);
    check(&["d a; s l /a", "f l/x 1"], &["a/", "a/x 1", "l -> /a"]);
    check(&["d a; s l ../../../a/./", "f l/x 1"], &["a/", "a/x 1", "l -> ../../../a/./"]);
    check(&["d d; d e; s d/l ../e", "f d/l/x 1"], &["d/", "d/l -> ../e", "e/", "e/x 1"]);
    check(
        &["s l nowhere/at/all", "f l/x 1"],
        &[
            "l -> nowhere/at/all",
            "nowhere/ @0.0",
            "nowhere/at/ @0.0",
            "nowhere/at/all/ @0.0",
            "nowhere/at/all/x 1",
        ],
    );
    // The last component is never followed.
    check(&["d a; s l a", "f l 1"], &["a/", "l 1"]);
}

#[test]
fn long_names_in_every_form() {
    let long = "d/".to_owned() + &"x".repeat(200);
    let target = "y".repeat(150);
    let text = format!("f {long} 1; s l {target}");
    check(&[&text], &["d/ @0.0", &format!("{long} 1"), &format!("l -> {target}")]);
    let gnu = [
        member(
            b"././@LongLink",
            tar::EntryType::GNULongName,
            b"",
            &[long.as_bytes(), b"\0"].concat(),
        ),
        member(b"short", tar::EntryType::Regular, b"", b"1"),
        member(b"././@LongLink", tar::EntryType::GNULongLink, b"", target.as_bytes()),
        member(b"l", tar::EntryType::Symlink, b"short", b""),
    ]
    .concat();
    check_raw(&[gnu], &["d/ @0.0", &format!("{long} 1"), &format!("l -> {target}")]);
    let mut ustar = tar::Header::new_ustar();
    ustar.set_path(format!("{}/{}", "d".repeat(100), "f".repeat(90))).unwrap();
    ustar.set_size(0);
    ustar.set_mode(0o644);
    ustar.set_mtime(MTIME);
    let path = format!("{}/{} ", "d".repeat(100), "f".repeat(90));
    check_raw(&[finish(ustar, b"")], &[&format!("{}/ @0.0", "d".repeat(100)), &path]);
}

#[test]
fn sparse_files_in_every_form() {
    let data: Vec<u8> = [vec![1; 512], vec![2; 512]].concat();
    // 512 bytes at 0, 512 at 1 MiB, 2 MiB in all.
    let expect = ["s <2097152 bytes, sum 1536, 2 runs>", "t after"];
    let after = member(b"t", tar::EntryType::Regular, b"", b"after");
    let form = |records: &[(&str, &[u8])], body: &[u8]| {
        [
            pax(records),
            member(b"GNUSparseFile.0/s", tar::EntryType::Regular, b"", body),
            after.clone(),
        ]
        .concat()
    };
    let mut old =
        tar::Header::from_byte_slice(&member(b"s", tar::EntryType::GNUSparse, b"", &data)[..512])
            .clone();
    let gnu = old.as_gnu_mut().unwrap();
    gnu.set_real_size(2 << 20);
    gnu.sparse[0].set_offset(0);
    gnu.sparse[0].set_length(512);
    gnu.sparse[1].set_offset(1 << 20);
    gnu.sparse[1].set_length(512);
    check_raw(&[[finish(old.clone(), &data), after.clone()].concat()], &expect);
    let gnu = old.as_gnu_mut().unwrap();
    gnu.set_is_extended(true);
    gnu.sparse[2].set_offset(2 << 20);
    gnu.sparse[2].set_length(0);
    let mut extension = [0; 512];
    extension[..12].copy_from_slice(b"00010000000\0");
    extension[12..24].copy_from_slice(b"00000000000\0");
    let extended = [finish(old, b""), extension.to_vec(), data.clone(), after.clone()].concat();
    check_raw(&[extended], &expect);
    let v00: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"2097152"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"1048576"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.name", b"s"),
    ];
    check_raw(&[form(v00, &data)], &expect);
    let v01: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"2097152"),
        ("GNU.sparse.map", b"0,512,1048576,512"),
        ("GNU.sparse.name", b"s"),
    ];
    check_raw(&[form(v01, &data)], &expect);
    let v10: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"2097152"),
    ];
    let mut body = b"2\n0\n512\n1048576\n512\n".to_vec();
    body.resize(512, 0);
    body.extend(&data);
    check_raw(&[form(v10, &body)], &expect);
    // Segments that share a block or meet at one, and an end in a hole.
    let records = |map: &'static [u8]| -> Vec<(&'static str, &'static [u8])> {
        vec![("GNU.sparse.size", b"20000"), ("GNU.sparse.map", map), ("GNU.sparse.name", b"s")]
    };
    for (map, runs) in [
        (&b"100,512,1000,512"[..], 1),
        (b"4000,512,9000,512", 1),
        (b"100,512,4196,512", 1),
        (b"100,512,8200,512", 2),
        (b"0,1024", 1),
        (b"18976,1024", 1),
    ] {
        let want = format!("s <20000 bytes, sum 1536, {runs} runs>");
        check_raw(&[form(&records(map), &data)], &[&want, "t after"]);
    }
}

#[test]
fn compressions() {
    let dir = tempfile::tempdir().unwrap();
    let plain = archive("f a 1; z big 3000000; f b 2");
    let (one, two) = plain.split_at(1_000_000);
    let forms = [
        (plain.clone(), Compression::None),
        (gzip(&plain), Compression::Gzip),
        ([gzip(one), gzip(two)].concat(), Compression::Gzip),
        (zstd::encode_all(&plain[..], 1).unwrap(), Compression::Zstd),
        (
            [zstd::encode_all(one, 1).unwrap(), zstd::encode_all(two, 1).unwrap()].concat(),
            Compression::Zstd,
        ),
        ([plain.as_slice(), &[0; 9000], b"rubbish after the end"].concat(), Compression::None),
    ];
    for (i, (bytes, compression)) in forms.iter().enumerate() {
        let layer = layer_file(dir.path(), &i.to_string(), bytes, *compression);
        let got = merged(&[layer], Limits::default()).unwrap();
        assert_eq!(got, "a 1\nb 2\nbig <3000000 bytes, sum 0, 1 runs>\n", "{i}");
    }
}

#[test]
fn digests_are_verified() {
    use sha2::Digest;
    let dir = tempfile::tempdir().unwrap();
    let plain = archive("f a 1");
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)));
    let mut layer = layer_file(dir.path(), "l", &gzip(&plain), Compression::Gzip);
    layer.diff_id = Some(digest(&plain));
    assert_eq!(merged(&[layer.clone()], Limits::default()).unwrap(), "a 1\n");
    layer.diff_id = Some(digest(b"something else"));
    let error = merged(&[layer], Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&digest(&plain)), "{error}");
    // With a digest, and only then, the end marker may be missing.
    let unmarked = &plain[..plain.len() - 1024];
    let mut layer = layer_file(dir.path(), "u", unmarked, Compression::None);
    assert_eq!(merged(&[layer.clone()], Limits::default()).unwrap_err().kind(), ErrorKind::Corrupt);
    layer.diff_id = Some(digest(unmarked));
    assert_eq!(merged(&[layer], Limits::default()).unwrap(), "a 1\n");
}

fn refuse(bytes: &[u8], compression: Compression, limits: Limits, kind: ErrorKind, says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer_file(dir.path(), "evil", bytes, compression);
    let error = merged(&[layer], limits).expect_err(says);
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(says), "{text:?} does not say {says:?}");
    assert!(text.contains("evil"), "{text:?} does not name the layer");
}

#[test]
fn hostile_names_and_links() {
    use ErrorKind::Refused;
    for (text, says) in [
        ("f /etc/passwd x", "absolute"),
        ("f ../x x", "climbs"),
        ("f a/../../x x", "climbs"),
        ("f a//b x", "normal form"),
        ("f a/./b x", "normal form"),
        ("h a b", "does not exist"),
        ("h a ../b", "climbs"),
        ("h a /etc/passwd", "absolute"),
        ("d d; h a d", "hard link to a directory"),
        ("h a .", "does not exist"),
        ("f . x", "the root is not a directory"),
        ("s ./ x", "the root is not a directory"),
        ("s a b; s b a; f a/x 1", "loop"),
        ("s a a/a; f a/x 1", "loop"),
        ("f a 1; f a/b 2", "is a file"),
        ("f .wh. x", "whiteout names nothing"),
        ("f .wh... x", "whiteout names nothing"),
        ("f .wh.a/b x", "name of a whiteout"),
        ("s a", "link target"),
        ("c a 5000:1", "out of range"),
        ("f a uid=4294967295", "out of range"),
        ("f a uid=99999999999", "out of range"),
    ] {
        refuse(&archive(text), Compression::None, Limits::default(), Refused, says);
    }
    let raw = |name: &[u8], kind: u8| {
        let bytes = member(name, tar::EntryType::new(kind), b"", b"");
        [bytes, vec![0; 1024]].concat()
    };
    let nul = [pax(&[("path", b"a\0b")]), raw(b"x", b'0')].concat();
    refuse(&nul, Compression::None, Limits::default(), Refused, "NUL");
    refuse(&raw(b"", b'0'), Compression::None, Limits::default(), Refused, "empty");
    refuse(&raw(b"x", b'V'), Compression::None, Limits::default(), Refused, "not known");
}

#[test]
fn limits_hold() {
    use ErrorKind::Refused;
    let limits = Limits::default();
    let many: String = (0..20).map(|i| format!("f {i} x;")).collect();
    let deep = "a/".repeat(30);
    let bomb = zstd::encode_all(&archive("z z 8000000")[..], 1).unwrap();
    for (bytes, limits, says) in [
        (archive(&many), Limits { entries: 10, ..limits }, "10 archive members"),
        (archive(&many), Limits { inodes: 10, ..limits }, "10 inodes"),
        (archive(&many), Limits { total_bytes: 4096, ..limits }, "4096 uncompressed"),
        (archive(&many), Limits { metadata_bytes: 20, ..limits }, "20 bytes of names"),
        (archive(&format!("d {deep}")), Limits { depth: 20, ..limits }, "20 directories"),
        (archive(&format!("f {} x", "a".repeat(256))), limits, "255 bytes"),
        (archive(&format!("f {} x", "a/".repeat(2100))), limits, "4096 bytes in a path"),
        (archive(&format!("s l {}", "a".repeat(4096))), limits, "4095 bytes in a link"),
    ] {
        refuse(&bytes, Compression::None, limits, Refused, says);
    }
    let tight = Limits { ratio_free_bytes: 1 << 20, ..limits };
    refuse(&bomb, Compression::Zstd, tight, Refused, "200 times");
    // A link chain that grows the path step by step, still one level at a time.
    let chain = "d a; s a/l ../a/a/a; f a/l/l/l/x 1";
    refuse(&archive(chain), Compression::None, Limits { depth: 3, ..limits }, Refused, "3 dir");
    // A PAX header and a long name that claim gigabytes: refused by size alone.
    for kind in [b'x', b'g', b'L', b'K'] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(1 << 33);
        refuse(&finish(header, b""), Compression::None, limits, Refused, "bytes in a");
    }
    let mut huge = tar::Header::new_gnu();
    huge.set_path("a").unwrap();
    huge.set_size(u64::MAX >> 1);
    refuse(&finish(huge, b""), Compression::None, limits, Refused, "bytes in a file");
}

#[test]
fn damaged_layers() {
    use ErrorKind::Corrupt;
    let limits = Limits::default();
    let plain = archive("f a 1; f b 2; z c 100000");
    let zipped = gzip(&plain);
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let mut flipped = plain.clone();
    flipped[1024 + 3] ^= 1;
    let cases: [(&[u8], Compression, &str); 14] = [
        (&plain[..2048], Compression::None, "no end"),
        (&plain[..1600], Compression::None, "truncated"),
        (&plain[..5000], Compression::None, "truncated"),
        (&flipped, Compression::None, "header is not valid"),
        (&zipped[..zipped.len() / 2], Compression::Gzip, "truncated"),
        (&zipped[..zipped.len() - 4], Compression::Gzip, "truncated"),
        (&zstd[..zstd.len() / 2], Compression::Zstd, "truncated"),
        (&plain, Compression::Gzip, "not valid gzip"),
        (&zipped, Compression::Zstd, "not valid zstd"),
        (&zipped, Compression::None, "holds gzip data"),
        (&zstd, Compression::None, "holds zstd data"),
        (b"", Compression::None, "no end"),
        (b"", Compression::Gzip, "truncated"),
        (&[b'x'; 4096], Compression::None, "not a tar archive"),
    ];
    for (bytes, compression, says) in cases {
        refuse(bytes, compression, limits, Corrupt, says);
    }
    let dangling = [pax(&[("path", b"x")]), vec![0; 1024]].concat();
    refuse(&dangling, Compression::None, limits, Corrupt, "extension header");
    let garbage = [zipped.as_slice(), b"garbage"].concat();
    refuse(&garbage, Compression::Gzip, limits, Corrupt, "gzip");
}

#[test]
fn a_missing_file_is_named() {
    let layer = LayerInput {
        path: "/no/such/file".into(),
        compression: Compression::None,
        diff_id: None,
        description: "the layer".to_owned(),
    };
    let error = merged(&[layer], Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("the layer"), "{error}");
}
