//! Unix sockets at paths of any length.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use tokio::net::{UnixListener, UnixStream};

/// Longest path that fits into a Unix socket address on Linux, in bytes, without the zero
/// at its end.
const MAX_PATH: usize = 107;

/// Listens at a path. State directories can be longer than a Unix socket address: such a
/// path is reached through its opened directory.
///
/// # Errors
/// What opening the directory or binding meets; `AddrInUse` if there is something already.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let address = Address::of(path)?;
    let listener = StdListener::bind(&address.path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Connects to a path of any length.
///
/// # Errors
/// What opening the directory or connecting meets.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = Address::of(path)?;
    UnixStream::connect(&address.path).await
}

/// A name that a socket address can hold.
struct Address {
    path: PathBuf,
    /// Must stay open as long as the name is used.
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let parent = fs::canonicalize(parent)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = File::from(open(&parent, flags, Mode::empty())?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_and_long_paths_are_bound_and_reached() {
        for depth in [0, 3] {
            let folder = tempfile::tempdir().unwrap();
            let mut path = folder.path().to_owned();
            for _ in 0..depth {
                path.push("x".repeat(100));
            }
            fs::create_dir_all(&path).unwrap();
            path.push("vsock_1024");
            let listener = bind(&path).unwrap();
            let (connected, accepted) = tokio::join!(connect(&path), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok());
            assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[tokio::test]
    async fn a_missing_directory_is_an_error() {
        let path = PathBuf::from(format!("/nonexistent/{}/s", "x".repeat(120)));
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
