//! From files to records.
//!
//! What is sent is what is there now; a file that changes meanwhile arrives as it was read, and
//! one that is gone by then is left out.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use microagent_guest_protocol::transfer::{EntryMeta, MAX_PIECE, Record};
use rustix::fs::OFlags;

/// Sends `root` with all that is in it.
///
/// # Errors
/// What reading it or writing to `out` meets, with the path.
pub fn send_tree(root: &Path, out: impl Write) -> io::Result<()> {
    let out = BufWriter::with_capacity(MAX_PIECE, out);
    Sender { out, first_names: HashMap::new(), buffer: vec![0; MAX_PIECE] }.tree(root.to_owned())
}

struct Sender<W: Write> {
    out: BufWriter<W>,
    /// Where files of several names were sent first, by device and inode.
    first_names: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl<W: Write> Sender<W> {
    fn tree(&mut self, root: PathBuf) -> io::Result<()> {
        let mut pending = vec![(PathBuf::new(), root)];
        while let Some((path, from)) = pending.pop() {
            if self.one_or_gone(&path, &from).map_err(naming(&from))? {
                let children = children(&from).map_err(naming(&from))?;
                let child = |name: PathBuf| (path.join(&name), from.join(&name));
                pending.extend(children.into_iter().map(child));
            }
        }
        self.out.write_all(&Record::End.encode())?;
        self.out.flush()
    }

    /// Sends one entry, or that it has gone; whether it is a directory.
    fn one_or_gone(&mut self, path: &Path, from: &Path) -> io::Result<bool> {
        match self.one(path, from) {
            // Nothing of it was sent: whatever looks for it does so before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.put(&Record::LeftOut { path: path.as_os_str().len() }, path, b"")?;
                Ok(false)
            }
            sent => sent,
        }
    }

    /// Sends one entry; whether it is a directory.
    fn one(&mut self, path: &Path, from: &Path) -> io::Result<bool> {
        let meta = fs::symlink_metadata(from)?;
        let kind = meta.file_type();
        let length = path.as_os_str().len();
        let entry = entry(&meta);
        if kind.is_dir() {
            self.put(&Record::Directory { path: length, meta: entry }, path, b"")?;
        } else if kind.is_file() {
            self.file(path, from, &meta)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(from)?;
            let target = target.as_os_str().as_bytes();
            let record = Record::Symlink { path: length, target: target.len(), meta: entry };
            self.put(&record, path, target)?;
        } else {
            self.put(&Record::LeftOut { path: length }, path, b"")?;
        }
        Ok(kind.is_dir())
    }

    fn file(&mut self, path: &Path, from: &Path, meta: &Metadata) -> io::Result<()> {
        let length = path.as_os_str().len();
        let key = (meta.dev(), meta.ino());
        if meta.nlink() > 1
            && let Some(first) = self.first_names.get(&key)
        {
            let first = first.as_os_str().as_bytes().to_vec();
            let record = Record::HardLink { path: length, target: first.len() };
            return self.put(&record, path, &first);
        }
        // It may have become something else: neither a link is followed nor a pipe waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::options().read(true).custom_flags(flags.bits() as i32).open(from)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return self.put(&Record::LeftOut { path: length }, path, b"");
        }
        if meta.nlink() > 1 {
            self.first_names.insert((meta.dev(), meta.ino()), path.to_owned());
        }
        let record = Record::File { path: length, meta: entry(&meta), size: meta.len() };
        self.put(&record, path, b"")?;
        self.data(&mut file, meta.len())
    }

    /// Sends the data of a file up to `size`, without its holes.
    fn data(&mut self, file: &mut File, size: u64) -> io::Result<()> {
        let mut end = 0;
        while end < size {
            let (start, stop) = stretch(file, end, size);
            file.seek(SeekFrom::Start(start))?;
            let mut at = start;
            while at < stop {
                let room = (stop - at).min(MAX_PIECE as u64) as usize;
                let length = match file.read(&mut self.buffer[..room]) {
                    // It has become shorter.
                    Ok(0) => return Ok(()),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                self.out.write_all(&Record::Data { offset: at, length }.encode())?;
                self.out.write_all(&self.buffer[..length])?;
                at += length as u64;
            }
            end = stop;
        }
        Ok(())
    }

    fn put(&mut self, record: &Record, path: &Path, target: &[u8]) -> io::Result<()> {
        self.out.write_all(&record.encode())?;
        self.out.write_all(path.as_os_str().as_bytes())?;
        self.out.write_all(target)
    }
}

/// The next stretch of data at or after `at`, as far as the file system tells; empty and at the
/// end if there is none.
fn stretch(file: &File, at: u64, size: u64) -> (u64, u64) {
    use rustix::fs::{SeekFrom, seek};
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < size => {
            let stop = seek(file, SeekFrom::Hole(start)).unwrap_or(size);
            (start, stop.clamp(start + 1, size))
        }
        Ok(_) | Err(rustix::io::Errno::NXIO) => (size, size),
        // A file system that does not know of holes.
        Err(_) => (at, size),
    }
}

/// Names in a directory, the last one first, so that the first is taken next.
fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        // It has been sent, and is empty now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(PathBuf::from(entry?.file_name())));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn entry(meta: &Metadata) -> EntryMeta {
    EntryMeta {
        mode: meta.mode() & 0o7777,
        mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)),
    }
}

fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn what_has_gone_is_left_out_and_no_first_name() {
        let memory = File::from(memfd_create("sent", MemfdFlags::CLOEXEC).unwrap());
        let out = BufWriter::new(memory.try_clone().unwrap());
        let mut sender = Sender { out, first_names: HashMap::new(), buffer: vec![0; MAX_PIECE] };
        let gone = Path::new("/proc/self/there-is-no-such-file");
        assert!(!sender.one_or_gone(Path::new("d/gone"), gone).unwrap());
        // One that goes between the look at it and the opening of it.
        let meta = fs::metadata("/proc/self").unwrap();
        assert!(sender.file(Path::new("d/gone"), gone, &meta).is_err());
        assert!(sender.first_names.is_empty());
        assert!(children(gone).unwrap().is_empty());
        sender.out.flush().unwrap();
        let mut memory = memory;
        memory.rewind().unwrap();
        let mut sent = Vec::new();
        memory.read_to_end(&mut sent).unwrap();
        assert_eq!(sent, [&Record::LeftOut { path: 6 }.encode()[..], b"d/gone"].concat());
    }
}
