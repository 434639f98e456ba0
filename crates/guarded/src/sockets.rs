//! Unix sockets in a directory whose path may be longer than a socket's address.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::net::UnixStream;

/// A run directory, held open: short names for what is in it.
#[derive(Debug)]
pub struct SocketDir {
    dir: RunDir,
    fd: OwnedFd,
}

impl SocketDir {
    /// Opens the directory.
    ///
    /// # Errors
    /// `NotFound` where there is none: a guard may be removing it. `Io` if it cannot be
    /// opened.
    pub fn open(dir: &RunDir) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = dir.path().display();
        let fd = rustix::fs::open(dir.path(), flags, Mode::empty()).map_err(|e| match e {
            Errno::NOENT => Error::new(ErrorKind::NotFound, format!("there is no {path}")),
            e => Error::io(format!("open {path}"), e.into()),
        })?;
        Ok(Self { dir: dir.clone(), fd })
    }

    /// Listens at `name`.
    ///
    /// # Errors
    /// `Io` with the whole path.
    pub fn listen(&self, name: &str) -> Result<UnixListener> {
        UnixListener::bind(self.short(name)).map_err(|e| self.error("listen at", name, e))
    }

    /// Connects to `name`.
    ///
    /// # Errors
    /// `Io` with the whole path.
    pub async fn connect(&self, name: &str) -> Result<UnixStream> {
        UnixStream::connect(self.short(name)).await.map_err(|e| self.error("connect to", name, e))
    }

    fn short(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.fd.as_fd().as_raw_fd()).into()
    }

    fn error(&self, what: &str, name: &str, source: io::Error) -> Error {
        Error::io(format!("{what} {}", self.dir.file(name).display()), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_may_be_long() {
        let top = tempfile::tempdir().unwrap();
        let long = top.path().join("d".repeat(200));
        let dir = RunDir::create(&long).unwrap();
        let sockets = SocketDir::open(&dir).unwrap();
        let listener = sockets.listen("s").unwrap();
        sockets.connect("s").await.unwrap();
        listener.accept().unwrap();
        assert!(dir.file("s").exists());
        let error = sockets.connect("other").await.unwrap_err();
        assert!(error.message.ends_with("/other"), "{error}");
    }

    #[test]
    fn a_directory_that_is_gone_is_not_found() {
        let top = tempfile::tempdir().unwrap();
        let gone = SocketDir::open(&RunDir::at(top.path().join("m"))).unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
    }
}
