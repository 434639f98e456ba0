//! A directory of the host as an archive, on its way to whoever reads one.
//!
//! What is read back is held to the same limits as any archive, so nothing here needs any.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use super::feed::{BUFFER, Producer};

/// Packs a directory with all that is in it, names in order, so that the same directory makes
/// the same archive. Links are links; sockets are left out, which nobody could connect to.
pub(crate) fn pack(directory: &Path, producer: &Producer) {
    let sink = Sink { producer, buffer: Vec::with_capacity(BUFFER) };
    let packed = Packer::new(sink).run(directory);
    producer.end(packed.map_err(|source| super::Fault::Io { doing: "packing it", source }));
}

struct Packer<'p> {
    archive: Builder<Sink<'p>>,
    /// Where files of several names were packed first, by device and inode.
    first_names: HashMap<(u64, u64), PathBuf>,
}

impl<'p> Packer<'p> {
    fn new(sink: Sink<'p>) -> Self {
        let mut archive = Builder::new(sink);
        archive.follow_symlinks(false);
        Self { archive, first_names: HashMap::new() }
    }

    fn run(mut self, directory: &Path) -> io::Result<()> {
        self.archive.append_dir(".", directory).map_err(naming(directory))?;
        let mut pending = vec![(PathBuf::new(), directory.to_owned())];
        while let Some((name, path)) = pending.pop() {
            let mut entries = std::fs::read_dir(&path)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(naming(&path))?;
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let (name, path) = (name.join(entry.file_name()), entry.path());
                if self.one(&name, &path).map_err(naming(&path))? {
                    pending.push((name, path));
                }
            }
        }
        self.archive.into_inner()?.flush()
    }

    /// Packs one name; whether it is a directory.
    fn one(&mut self, name: &Path, path: &Path) -> io::Result<bool> {
        let meta = path.symlink_metadata()?;
        let kind = meta.file_type();
        if std::os::unix::fs::FileTypeExt::is_socket(&kind) {
            tracing::warn!(path = %path.display(), "left out a socket");
            return Ok(false);
        }
        if kind.is_file() && meta.nlink() > 1 {
            if let Some(first) = self.first_names.get(&(meta.dev(), meta.ino())) {
                let mut header = Header::new_gnu();
                header.set_metadata(&meta);
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                self.archive.append_link(&mut header, name, first)?;
                return Ok(false);
            }
            self.first_names.insert((meta.dev(), meta.ino()), name.to_owned());
        }
        if kind.is_file() {
            self.file(name, path)?;
        } else {
            self.archive.append_path_with_name(path, name)?;
        }
        Ok(kind.is_dir())
    }

    /// Packs a file. The archive says its length first, and takes what comes then: all that
    /// follows would be read at the wrong places.
    fn file(&mut self, name: &Path, path: &Path) -> io::Result<()> {
        // It may have become something else: neither a link is followed nor a pipe waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(io::Error::other("it has become something else while it was packed"));
        }
        self.archive.append_file(name, &mut file)?;
        let (before, after) = (before.len(), file.metadata()?.len());
        if before != after {
            return Err(io::Error::other(format!(
                "it had {before} bytes when it was begun to be packed, and {after} after that"
            )));
        }
        Ok(())
    }
}

fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Hands the archive over, buffer by buffer.
struct Sink<'p> {
    producer: &'p Producer,
    buffer: Vec<u8>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..now]);
        if self.buffer.len() == BUFFER {
            self.flush()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
        // Whoever read it has seen enough.
        self.producer.packed(bytes).map_err(|()| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::layer::feed::{Feed, Hashing};

    /// Changes a file to this length while it is packed, by which nobody reads yet.
    fn check(length: Option<u64>, says: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // More than the buffers between the two hold.
        let size = 64 * BUFFER as u64;
        std::fs::write(&path, vec![7_u8; size as usize]).unwrap();
        let limits = Limits::default();
        let progress = |_: u64| ();
        let (mut feed, producer) = Feed::new(&limits, &progress);
        let read = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends with the thread, as where it is used.
                let producer = producer;
                pack(dir.path(), &producer);
            });
            feed.begin(Hashing::Off);
            assert!(!feed.peek().unwrap().is_empty());
            if let Some(length) = length {
                File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            }
            feed.finish()
        });
        let said = read.err().map(|fault| format!("{fault:?}"));
        match (&said, says) {
            (Some(said), Some(says)) => assert!(said.contains(says), "{said}"),
            (said, says) => assert_eq!(said.as_deref(), says),
        }
    }

    #[test]
    fn a_file_that_changes_its_length_is_not_packed() {
        check(None, None);
        check(Some(100 * BUFFER as u64), Some("and 52428800 after that"));
        check(Some(1), Some("and 1 after that"));
    }
}
