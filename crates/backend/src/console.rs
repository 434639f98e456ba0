//! What a guest wrote to its console.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The kept part of a machine's console.
///
/// A guest can write for ever, so only the first [`ConsoleLog::HEAD`] bytes and the last
/// [`ConsoleLog::TAIL`] bytes are kept, in three files: `<path>` holds the beginning, and
/// `<path>.1` and `<path>.2` are written in turn, each truncated when the other is full, so
/// that together they hold at least the end. Whichever was modified last is the newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleLog {
    path: PathBuf,
}

impl ConsoleLog {
    /// How much of the beginning is kept, in bytes.
    pub const HEAD: u64 = 256 << 10;
    /// How much of the end is kept at least, in bytes, and how long each of its two files
    /// can be.
    pub const TAIL: u64 = 4 << 20;

    /// The log whose first file is at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the beginning is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The two files that hold the end.
    pub fn tail_paths(&self) -> [PathBuf; 2] {
        [1, 2].map(|n| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        })
    }

    /// The last `limit` bytes of what is kept, fewer if there are fewer.
    ///
    /// # Errors
    /// What reading meets. A log that does not exist yet is empty.
    pub fn last(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut files: Vec<_> =
            self.tail_paths().into_iter().filter_map(|p| Some((modified(&p)?, p))).collect();
        files.sort();
        let mut parts = vec![self.path.clone()];
        parts.extend(files.into_iter().map(|(_, path)| path));
        let mut text = Vec::new();
        for path in parts.iter().rev() {
            let wanted = limit.saturating_sub(text.len() as u64);
            if wanted == 0 {
                break;
            }
            let mut part = end_of(path, wanted)?;
            part.append(&mut text);
            text = part;
        }
        Ok(text)
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    let meta = path.metadata().ok()?;
    if meta.len() == 0 { None } else { meta.modified().ok() }
}

fn end_of(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(limit)))?;
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_spans_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = ConsoleLog::new(dir.path().join("console"));
        assert!(log.last(10).unwrap().is_empty());
        std::fs::write(log.path(), "abc").unwrap();
        assert_eq!(log.last(2).unwrap(), b"bc");
        std::fs::write(&log.tail_paths()[0], "def").unwrap();
        assert_eq!(log.last(5).unwrap(), b"bcdef");
        assert_eq!(log.last(100).unwrap(), b"abcdef");
    }
}
