//! Locks between processes.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::aside::aside;
use crate::{ImageError, Result};

/// Keeps blobs from being pruned while it lives.
#[derive(Debug)]
pub struct Hold {
    // Closing the file gives the lock back, also when the process is killed.
    _lock: File,
}

impl Hold {
    pub(crate) fn new(lock: File) -> Self {
        Self { _lock: lock }
    }
}

/// Locks `path` beside other shared locks; the lock ends with the file.
pub(crate) async fn shared(path: &Path, limit: Duration) -> Result<File> {
    let file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(error) => wait(file, path, limit, error, File::lock_shared).await,
    }
}

/// Locks `path` alone; the lock ends with the file.
pub(crate) async fn exclusive(path: &Path, limit: Duration) -> Result<File> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) => wait(file, path, limit, error, File::lock).await,
    }
}

/// Locks `path` alone if nobody has it.
pub(crate) fn exclusive_now(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(ImageError::io("lock", path, error)),
    }
}

async fn wait(
    file: File,
    path: &Path,
    limit: Duration,
    first: TryLockError,
    lock: fn(&File) -> std::io::Result<()>,
) -> Result<File> {
    if let TryLockError::Error(error) = first {
        return Err(ImageError::io("lock", path, error));
    }
    let what = format!("waiting for other commands that hold '{}'", path.display());
    let path = path.to_owned();
    let call = move || match lock(&file) {
        Ok(()) => Ok(file),
        Err(error) => Err(ImageError::io("lock", &path, error)),
    };
    aside(&what, limit, call).await
}

fn open(path: &Path) -> Result<File> {
    let options = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
    options.map_err(|error| ImageError::io("open the lock", path, error))
}
