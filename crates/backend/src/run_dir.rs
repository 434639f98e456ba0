//! The directory of a running machine.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The directory that holds a machine's sockets, records and console while it exists.
///
/// It is owned by one machine, readable by its user only (mode 0700), and removed with the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory, mode 0700; its parent must exist.
    ///
    /// # Errors
    /// `Io` if it exists already or cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| Error::io(format!("make run directory {}", path.display()), e))?;
        Ok(Self { path })
    }

    /// Names a directory that may or may not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes it with all that it holds. That it is gone already is fine.
    ///
    /// # Errors
    /// `Io` with the path if something in it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove run directory {}", self.path.display()), e))
            }
            _ => Ok(()),
        }
    }
}
