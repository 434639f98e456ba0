//! `output.log`: what the workspace's own commands print.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use microagent_vsock::{Sink, sink_to};

/// Name of the file.
pub(crate) const FILE: &str = "output.log";
/// What it is called once it is full and another was begun.
pub(crate) const OLDER: &str = "output.log.1";

/// How long it becomes before another is begun, in bytes: a guest must not fill the host's disk.
const MAX_LEN: u64 = 16 << 20;

/// A sink that keeps the last 16 to 32 MiB of what is written to it.
#[derive(Debug, Clone)]
pub(crate) struct OutputLog {
    shared: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    directory: PathBuf,
    file: File,
    len: u64,
    limit: u64,
}

impl OutputLog {
    /// Goes on writing that of the workspace in `directory`.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Self> {
        Self::limited(directory, MAX_LEN)
    }

    fn limited(directory: PathBuf, limit: u64) -> io::Result<Self> {
        let file = open(&directory.join(FILE))?;
        let len = file.metadata()?.len();
        Ok(Self { shared: Arc::new(Mutex::new(Kept { directory, file, len, limit })) })
    }

    /// Where to write to it.
    pub(crate) fn sink(&self) -> Sink {
        let log = self.clone();
        sink_to(move |bytes| log.keep(bytes))
    }

    /// Keeps what a command prints.
    pub(crate) fn keep(&self, bytes: &[u8]) {
        if let Err(error) = self.push(bytes) {
            // A full disk must not end what runs in the guest.
            tracing::warn!(%error, "cannot keep what a command prints");
        }
    }

    fn push(&self, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len >= kept.limit {
            fs::rename(kept.directory.join(FILE), kept.directory.join(OLDER))?;
            kept.file = open(&kept.directory.join(FILE))?;
            kept.len = 0;
        }
        kept.file.write_all(bytes)?;
        kept.len += bytes.len() as u64;
        Ok(())
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = OutputLog::limited(dir.path().to_owned(), 4).unwrap();
        for bytes in ["abcd", "efgh", "ijkl", "m"] {
            log.push(bytes.as_bytes()).unwrap();
        }
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((read(OLDER).as_str(), read(FILE).as_str()), ("ijkl", "m"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
