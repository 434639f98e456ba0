//! From records to files.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use microagent_guest_protocol::transfer::{EntryMeta, MAX_PIECE, RECORD_LEN, Record};

/// Makes at `place` what comes from `source`, up to its last record: under another name beside
/// it first, so that it is whole or not there. A file that is there is replaced, a directory is
/// not.
///
/// # Errors
/// What reading or making it meets, with the path; nothing is left then.
pub fn place(source: impl Read, place: &Path) -> io::Result<()> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.part", std::process::id()));
    let draft = place.with_file_name(draft);
    let mut placer = Placer {
        source,
        root: draft.clone(),
        file: None,
        directories: Vec::new(),
        buffer: Vec::new(),
    };
    let placed = placer.run().and_then(|()| fs::rename(&draft, place).map_err(naming(place)));
    if placed.is_err() {
        let _ = fs::remove_dir_all(&draft).or_else(|_| fs::remove_file(&draft));
    }
    placed
}

struct Placer<R> {
    source: R,
    root: PathBuf,
    /// The file that data belongs to, and what it is given when all of that is there.
    file: Option<(File, EntryMeta)>,
    /// Given their times last: what is made in them changes those.
    directories: Vec<(PathBuf, EntryMeta)>,
    buffer: Vec<u8>,
}

impl<R: Read> Placer<R> {
    fn run(&mut self) -> io::Result<()> {
        self.buffer.resize(MAX_PIECE, 0);
        loop {
            let mut header = [0; RECORD_LEN];
            self.source.read_exact(&mut header)?;
            let record = Record::decode(&header).map_err(io::Error::other)?;
            if let Record::Data { offset, length } = record {
                self.data(offset, length)?;
                continue;
            }
            if let Some((file, meta)) = self.file.take() {
                file.set_permissions(Permissions::from_mode(meta.mode))?;
                file.set_times(times(meta))?;
            }
            if record == Record::End {
                break;
            }
            self.entry(record)?;
        }
        for (path, meta) in self.directories.drain(..).rev() {
            fs::set_permissions(&path, Permissions::from_mode(meta.mode)).map_err(naming(&path))?;
            File::open(&path).and_then(|d| d.set_times(times(meta))).map_err(naming(&path))?;
        }
        Ok(())
    }

    fn entry(&mut self, record: Record) -> io::Result<()> {
        match record {
            Record::Directory { path, meta } => {
                let path = self.path(path)?;
                DirBuilder::new().create(&path).map_err(naming(&path))?;
                self.directories.push((path, meta));
            }
            Record::File { path, meta, size } => {
                let path = self.path(path)?;
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                let file = file.map_err(naming(&path))?;
                file.set_len(size).map_err(naming(&path))?;
                self.file = Some((file, meta));
            }
            Record::Symlink { path, target, meta: _ } => {
                let (path, target) = (self.path(path)?, self.bytes(target)?);
                symlink(target, &path).map_err(naming(&path))?;
            }
            Record::HardLink { path, target } => {
                let (path, first) = (self.path(path)?, self.path(target)?);
                fs::hard_link(first, &path).map_err(naming(&path))?;
            }
            Record::LeftOut { path } => drop(self.path(path)?),
            Record::Data { .. } | Record::End => {}
        }
        Ok(())
    }

    fn data(&mut self, offset: u64, length: usize) -> io::Result<()> {
        let piece = self.buffer.get_mut(..length).unwrap_or_default();
        self.source.read_exact(piece)?;
        let Some((file, _)) = &mut self.file else {
            return Err(io::Error::other("there is data of no file"));
        };
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(piece)
    }

    fn path(&mut self, length: usize) -> io::Result<PathBuf> {
        let path = PathBuf::from(self.bytes(length)?);
        // Joined with nothing it would end with a slash.
        Ok(if path.as_os_str().is_empty() { self.root.clone() } else { self.root.join(path) })
    }

    fn bytes(&mut self, length: usize) -> io::Result<OsString> {
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes)?;
        Ok(OsString::from_vec(bytes))
    }
}

fn times(meta: EntryMeta) -> FileTimes {
    let (seconds, nanoseconds) = meta.mtime;
    let since = Duration::new(seconds.unsigned_abs(), nanoseconds.min(999_999_999));
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    time.map_or(FileTimes::new(), |time| FileTimes::new().set_modified(time).set_accessed(time))
}

fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send_tree;

    #[test]
    fn a_tree_arrives_as_it_was_sent() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::write(from.join("d/f"), "text").unwrap();
        fs::hard_link(from.join("d/f"), from.join("d/g")).unwrap();
        symlink("../nowhere", from.join("d/l")).unwrap();
        fs::set_permissions(from.join("d/f"), Permissions::from_mode(0o4711)).unwrap();
        let mut records = Vec::new();
        send_tree(&from, &mut records).unwrap();
        let to = dir.path().join("to");
        place(&records[..], &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("d/g")).unwrap(), "text");
        let meta = fs::metadata(to.join("d/f")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o4711);
        assert_eq!(
            meta.modified().unwrap(),
            fs::metadata(from.join("d/f")).unwrap().modified().unwrap()
        );
        assert_eq!(fs::read_link(to.join("d/l")).unwrap(), Path::new("../nowhere"));
        assert!(to.join("d/e").is_dir());
        // A directory is not replaced, and nothing is left of the attempt.
        assert!(place(&records[..], &to).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_cut_short_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "text").unwrap();
        let mut records = Vec::new();
        send_tree(&dir.path().join("f"), &mut records).unwrap();
        for length in 0..records.len() {
            assert!(place(&records[..length], &dir.path().join("to")).is_err(), "{length}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        place(&records[..], &dir.path().join("f")).unwrap();
    }
}
