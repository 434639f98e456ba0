//! The merged tree as a tar archive.
//!
//! GNU headers with GNU long names, which carry bytes as they are, and PAX
//! records for what those cannot hold: attributes, nanoseconds, holes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header};

use crate::tree::{Content, Inode, InodeId, Kind, ROOT, Tree};

const RECORD: usize = 512;

/// Bytes read from the spool at a time.
const COPY_BUFFER: usize = 1 << 18;

/// Longest name or target that a header holds itself.
const SHORT_NAME: usize = 100;

/// Writes `tree` to `out`, contents from `spool`.
pub(super) fn write(tree: &Tree<'_>, spool: &File, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(COPY_BUFFER, out);
    let mut writer = Writer { tree, spool, out: &mut out, seen: HashMap::new() };
    writer.member(b"./", tree.inode(ROOT), None)?;
    let mut pending = vec![(Vec::new(), ROOT)];
    while let Some((prefix, id)) = pending.pop() {
        let Some(directory) = tree.directory(id) else { continue };
        for (name, entry) in &directory.entries {
            let path = [&prefix[..], name].concat();
            let inode = tree.inode(entry.inode);
            if tree.directory(entry.inode).is_some() {
                let prefix = [&path[..], b"/"].concat();
                writer.member(&prefix, inode, None)?;
                pending.push((prefix, entry.inode));
            } else {
                writer.name(path, entry.inode, inode)?;
            }
        }
    }
    out.write_all(&[0; 2 * RECORD])?;
    out.flush()
}

struct Writer<'w, 't> {
    tree: &'w Tree<'t>,
    spool: &'w File,
    out: &'w mut dyn Write,
    /// Where inodes of several names were written first.
    seen: HashMap<InodeId, Vec<u8>>,
}

impl Writer<'_, '_> {
    fn name(&mut self, path: Vec<u8>, id: InodeId, inode: &Inode) -> io::Result<()> {
        let first = self.seen.get(&id).cloned();
        if first.is_none() && inode.links > 1 {
            self.seen.insert(id, path.clone());
        }
        self.member(&path, inode, first.as_deref())?;
        match &inode.kind {
            Kind::File(content) if first.is_none() => self.content(id, content),
            _ => Ok(()),
        }
    }

    fn member(&mut self, path: &[u8], inode: &Inode, link_to: Option<&[u8]>) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let meta = &inode.meta;
        header.set_mode(meta.mode.into());
        header.set_uid(meta.uid.into());
        header.set_gid(meta.gid.into());
        header.set_mtime(u64::try_from(meta.mtime.0).unwrap_or(0));
        header.set_size(0);
        let mut records = Vec::new();
        if meta.mtime.0 < 0 || meta.mtime.1 > 0 {
            record(&mut records, "mtime", time(meta.mtime).as_bytes());
        }
        let mut target: &[u8] = b"";
        let kind = match (&inode.kind, link_to) {
            (_, Some(first)) => {
                target = first;
                EntryType::Link
            }
            (Kind::Directory(_), _) => EntryType::Directory,
            (Kind::File(content), _) => {
                header.set_size(stored(content));
                if !is_dense(content) {
                    record(&mut records, "GNU.sparse.major", b"1");
                    record(&mut records, "GNU.sparse.minor", b"0");
                    let size = content.size.to_string();
                    record(&mut records, "GNU.sparse.realsize", size.as_bytes());
                }
                EntryType::Regular
            }
            (Kind::Symlink(to), _) => {
                target = to;
                EntryType::Symlink
            }
            (Kind::CharDevice { major, minor }, _) => device(&mut header, *major, *minor, b'3')?,
            (Kind::BlockDevice { major, minor }, _) => device(&mut header, *major, *minor, b'4')?,
            (Kind::Fifo, _) => EntryType::Fifo,
            (Kind::Gone, _) => return Ok(()),
        };
        header.set_entry_type(kind);
        if link_to.is_none() {
            for (name, value) in &inode.xattrs {
                let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(name));
                record(&mut records, &key, value);
            }
        }
        if !records.is_empty() {
            self.extension(EntryType::XHeader, &records)?;
        }
        let old = header.as_old_mut();
        for (text, field, kind) in [
            (path, &mut old.name, EntryType::GNULongName),
            (target, &mut old.linkname, EntryType::GNULongLink),
        ] {
            let short = text.len().min(SHORT_NAME);
            field[..short].copy_from_slice(&text[..short]);
            if text.len() > SHORT_NAME {
                self.extension(kind, &[text, b"\0"].concat())?;
            }
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn extension(&mut self, kind: EntryType, body: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_path("././@LongLink")?;
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(body)?;
        self.pad(body.len() as u64)
    }

    fn content(&mut self, id: InodeId, content: &Content) -> io::Result<()> {
        if !is_dense(content) {
            self.out.write_all(&sparse_map(content))?;
        }
        let mut buffer = vec![0; COPY_BUFFER];
        for run in self.tree.runs(id) {
            let mut done = 0;
            while done < run.length {
                let now = (run.length - done).min(COPY_BUFFER as u64) as usize;
                self.spool.read_exact_at(&mut buffer[..now], run.spooled_at + done)?;
                self.out.write_all(&buffer[..now])?;
                done += now as u64;
            }
        }
        self.pad(stored(content))
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let over = (length % RECORD as u64) as usize;
        if over == 0 { Ok(()) } else { self.out.write_all(&[0; RECORD][over..]) }
    }
}

fn device(header: &mut Header, major: u32, minor: u32, kind: u8) -> io::Result<EntryType> {
    header.set_device_major(major)?;
    header.set_device_minor(minor)?;
    Ok(EntryType::new(kind))
}

fn is_dense(content: &Content) -> bool {
    match &*content.runs {
        [] => content.size == 0,
        [run] => run.offset == 0 && run.length == content.size,
        _ => false,
    }
}

/// Bytes that a file's content takes in the archive.
fn stored(content: &Content) -> u64 {
    let data: u64 = content.runs.iter().map(|run| run.length).sum();
    if is_dense(content) { data } else { data + sparse_map(content).len() as u64 }
}

/// The map of PAX form 1.0, padded.
fn sparse_map(content: &Content) -> Vec<u8> {
    let mut map = format!("{}\n", content.runs.len() + 1).into_bytes();
    for run in &content.runs {
        map.extend(format!("{}\n{}\n", run.offset, run.length).into_bytes());
    }
    map.extend(format!("{}\n0\n", content.size).into_bytes());
    map.resize(map.len().next_multiple_of(RECORD), 0);
    map
}

fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(format!("{length} {key}=").into_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn time((seconds, nanoseconds): (i64, u32)) -> String {
    match (seconds < 0, nanoseconds) {
        (_, 0) => seconds.to_string(),
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
        // -1.25 s is stored as -2 s and 0.75.
        (true, _) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::merge;
    use crate::merge::tests::{dump, merged};
    use crate::spool::Spool;
    use crate::testing::{layer_file, layers, member, pax};
    use crate::{Compression, Limits};

    /// What is written reads back as what it was.
    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let long = "long/".repeat(40);
        let text = format!(
            "d ./ mode=711; d usr; f usr/a one mode=4755 uid=100000 gid=4294967294; h b usr/a;
             s bin usr/bin; c null 1:3; b big 259:70000; p pipe; d tmp mode=1777;
             f t x mtime=1700000000.123456789; f early x mtime=-1.25; f old x mtime=-7;
             f e x user.k=v user.empty=; d {long}; f {long}file 1; h {long}again {long}file;
             s l {long}file; z zeros 100000; f empty"
        );
        let sparse = [
            pax(&[
                ("GNU.sparse.size", b"9000000"),
                ("GNU.sparse.map", b"4096,4,5000000,4"),
                ("GNU.sparse.name", b"sparse"),
            ]),
            member(b"x", EntryType::Regular, b"", b"onetwo!!"),
            pax(&[("GNU.sparse.size", b"5000"), ("GNU.sparse.name", b"hole")]),
            member(b"x", EntryType::Regular, b"", b""),
            member(b"caf\xe9", EntryType::Regular, b"", b"latin"),
            vec![0; 1024],
        ];
        let mut layers = layers(dir.path(), &[&text]);
        let sparse = sparse.concat();
        layers.push(layer_file(dir.path(), "sparse", &sparse, Compression::None));

        let limits = Limits::default();
        let mut spool = Spool::beside(&tempfile::tempfile().unwrap()).unwrap();
        let tree = merge(&layers, &limits, &mut spool, &|_| {}).unwrap();
        let spool = spool.into_file().unwrap();
        let mut archive = Vec::new();
        write(&tree, &spool, &mut archive).unwrap();
        let again = layer_file(dir.path(), "again", &archive, Compression::None);
        assert_eq!(merged(&[again], limits).unwrap(), dump(&tree, &spool));
    }
}
