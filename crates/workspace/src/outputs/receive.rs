//! From the records of an agent to files on the host.

use std::io::{self, Read};
use std::path::Path;

use microagent_guest_protocol::transfer::{EntryMeta, MAX_PIECE, RECORD_LEN, Record};
use microagent_rootfs::{Extracted, ReadError, Target, TargetFile, TargetMeta};

/// Makes at `place` what comes from `source`, up to its last record, without the permission
/// bits in `umask`. Blocks.
///
/// # Errors
/// What the guest sent is not to be had, or the host failed; nothing is at `place` then.
pub(crate) fn receive(source: impl Read, place: &Path, umask: u32) -> Result<Extracted, ReadError> {
    let target = Target::begin(place, umask)?;
    Receiver { source, target, file: None, buffer: vec![0; MAX_PIECE] }.run()
}

struct Receiver<R> {
    source: R,
    target: Target,
    /// The file that data belongs to.
    file: Option<TargetFile>,
    buffer: Vec<u8>,
}

impl<R: Read> Receiver<R> {
    fn run(mut self) -> Result<Extracted, ReadError> {
        loop {
            let mut header = [0; RECORD_LEN];
            self.source.read_exact(&mut header).map_err(lost)?;
            let record = Record::decode(&header).map_err(|e| ReadError::Corrupt(e.to_string()))?;
            if let Record::Data { offset, length } = record {
                self.data(offset, length)?;
                continue;
            }
            if let Some(file) = self.file.take() {
                self.target.close(file)?;
            }
            if record == Record::End {
                return self.target.finish();
            }
            self.entry(record)?;
        }
    }

    fn entry(&mut self, record: Record) -> Result<(), ReadError> {
        match record {
            Record::Directory { path, meta } => {
                let path = self.bytes(path)?;
                self.target.directory(&path, kept(meta))
            }
            Record::File { path, meta, size } => {
                let path = self.bytes(path)?;
                self.file = Some(self.target.file(&path, size, kept(meta))?);
                Ok(())
            }
            Record::Symlink { path, target, meta } => {
                let (path, to) = (self.bytes(path)?, self.bytes(target)?);
                self.target.symlink(&path, &to, kept(meta))
            }
            Record::HardLink { path, target } => {
                let (path, first) = (self.bytes(path)?, self.bytes(target)?);
                self.target.hard_link(&path, &first)
            }
            Record::LeftOut { path } => {
                let path = self.bytes(path)?;
                self.target
                    .leave_out(&path, "no file, directory or link, or gone before it was read")
            }
            Record::Data { .. } | Record::End => Ok(()),
        }
    }

    fn data(&mut self, offset: u64, length: usize) -> Result<(), ReadError> {
        let Some(file) = &self.file else {
            return Err(ReadError::Corrupt("there is data of no file".into()));
        };
        // No longer than the buffer: `decode` has seen to that.
        let piece = self.buffer.get_mut(..length).unwrap_or_default();
        self.source.read_exact(piece).map_err(lost)?;
        self.target.write(file, offset, piece)
    }

    /// A path or a target, whose length has a maximum.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes).map_err(lost)?;
        Ok(bytes)
    }
}

fn kept(meta: EntryMeta) -> TargetMeta {
    TargetMeta { mode: meta.mode, mtime: meta.mtime }
}

fn lost(error: io::Error) -> ReadError {
    let doing = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended before it was complete",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the guest has stopped sending",
        _ => "receiving it",
    };
    ReadError::Io { doing: doing.into(), source: error }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: EntryMeta = EntryMeta { mode: 0o644, mtime: (1, 2) };

    fn records(list: &[(Record, &[u8])]) -> Vec<u8> {
        list.iter().flat_map(|(record, rest)| [&record.encode()[..], rest].concat()).collect()
    }

    fn check(list: &[(Record, &[u8])], expect: Result<u64, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let got = receive(&records(list)[..], &place, 0o022);
        match (got, expect) {
            (Ok(done), Ok(entries)) => {
                assert_eq!(done.entries, entries);
                assert!(place.exists());
            }
            (Err(error), Err(says)) => {
                let message = crate::error::chain(&error);
                assert!(message.contains(says), "{message}, expected {says}");
                assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{says}");
            }
            (got, expect) => panic!("{got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn what_a_guest_sends_is_made_or_refused() {
        let root = (Record::Directory { path: 0, meta: META }, &b""[..]);
        let file =
            |path: &'static [u8]| (Record::File { path: path.len(), meta: META, size: 4 }, path);
        let data = (Record::Data { offset: 0, length: 4 }, &b"text"[..]);
        let end = (Record::End, &b""[..]);
        check(&[root, file(b"f"), data, end], Ok(2));
        check(&[file(b""), data, end], Ok(1));
        check(&[root, file(b"f"), data], Err("ended before it was complete"));
        check(
            &[root, file(b"f"), (Record::Data { offset: 1, length: 4 }, b"text"), end],
            Err("beyond its end"),
        );
        let nothing = (Record::Data { offset: 0, length: 0 }, &b""[..]);
        check(&[root, file(b"f"), nothing, end], Err("a piece without content"));
        check(&[root, data, end], Err("data of no file"));
        check(&[root, file(b"../f"), data, end], Err("a file named"));
        check(&[root, file(b"/etc/f"), data, end], Err("a file named"));
        check(&[root, file(b"missing/f"), data, end], Err("No such file"));
        check(&[root, file(b"f"), file(b"f"), end], Err("File exists"));
        let link = (Record::Symlink { path: 1, target: 4, meta: META }, &b"l/etc"[..]);
        check(&[root, link, file(b"l/f"), data, end], Err("No such file"));
        let inner = (Record::Symlink { path: 1, target: 1, meta: META }, &b"ld"[..]);
        let below = (Record::Directory { path: 1, meta: META }, &b"d"[..]);
        check(&[root, below, inner, file(b"l/f"), data, end], Err("Not a directory"));
        let hard = (Record::HardLink { path: 1, target: 11 }, &b"h../etc/hosts"[..13]);
        check(&[root, hard, end], Err("a file named"));
        // A link's second name would lead from where that is: out.
        let deep = (Record::Directory { path: 3, meta: META }, &b"d/e"[..]);
        let climbs = (Record::Symlink { path: 5, target: 7, meta: META }, &b"d/e/l../../x"[..]);
        let second = (Record::HardLink { path: 2, target: 5 }, &b"l2d/e/l"[..]);
        check(&[root, below, deep, climbs, end], Ok(4));
        check(&[root, below, deep, climbs, second, end], Err("another name of \"d/e/l\", no file"));
        let directory = (Record::HardLink { path: 2, target: 1 }, &b"d2d"[..]);
        check(&[root, below, directory, end], Err("another name of \"d\", no file"));
        check(&[end], Err("No such file"));
        let socket = (Record::LeftOut { path: 0 }, &b""[..]);
        check(&[socket, end], Err("it: no file, directory or link"));
    }
}
