//! The state directory.
//!
//! ```text
//! <state>/state.json                     version of this layout
//!         config.toml                    the user's defaults
//!         images/                        blobs and index (microagent-image)
//!         images/bases/                  root disks by digest and size
//!         kernels/                       guest kernels (microagent-kernel)
//!         cache/                         what can be found out again
//!         volumes/<name>/                named volumes, one directory each
//!         workspaces/<name>/             one directory each
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::RunError;
use crate::base_disk::give_name;

/// Version of the layout that this program reads and writes.
const LAYOUT_VERSION: u32 = 1;

/// The directory that holds everything that outlives a command.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Layout {
    version: u32,
}

impl StateDir {
    /// Opens the directory, making it (mode 0700) if it is not there.
    ///
    /// # Errors
    /// Where it cannot be made or written, and where a newer version of the program made it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RunError> {
        let state = Self::peek(path)?;
        let dirs =
            [state.workspaces(), state.volumes(), state.bases(), state.kernels(), state.cache()];
        for dir in std::iter::once(state.path.clone()).chain(dirs) {
            make_private(&dir).map_err(|e| {
                RunError::state(format!("cannot make state directory {}", dir.display()), e)
            })?;
        }
        let file = state.path.join("state.json");
        if !file.exists() {
            write_once(&file, &Layout { version: LAYOUT_VERSION })
                .map_err(|e| RunError::state(format!("cannot write {}", file.display()), e))?;
        }
        Ok(state)
    }

    /// Names the directory without making anything; it may not exist.
    ///
    /// # Errors
    /// Where a newer version of the program made it.
    pub fn peek(path: impl Into<PathBuf>) -> Result<Self, RunError> {
        let path = std::path::absolute(path.into())
            .map_err(|e| RunError::state("cannot find the working directory".into(), e))?;
        let file = path.join("state.json");
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self { path }),
            Err(e) => {
                return Err(RunError::state(format!("cannot read {}", file.display()), e));
            }
        };
        let layout: Layout = serde_json::from_slice(&text).map_err(|e| {
            RunError::state(format!("cannot understand {}", file.display()), e.into())
        })?;
        if layout.version > LAYOUT_VERSION {
            return Err(RunError::NewerState {
                path,
                found: layout.version,
                known: LAYOUT_VERSION,
            });
        }
        Ok(Self { path })
    }

    /// Where it is; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user's defaults.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Images: blobs and their index.
    pub fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// Root disks by digest and size.
    pub fn bases(&self) -> PathBuf {
        self.path.join("images/bases")
    }

    /// Guest kernels.
    pub fn kernels(&self) -> PathBuf {
        self.path.join("kernels")
    }

    /// What can be found out again.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// All workspaces.
    pub fn workspaces(&self) -> PathBuf {
        self.path.join("workspaces")
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file that does not exist yet, so that being killed leaves nothing: it has no name
/// until it is whole.
fn write_once(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let dir = path.parent().unwrap_or(Path::new("."));
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let mut file = File::from(file);
            serde_json::to_writer_pretty(&mut file, value)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            give_name(&file, path)
        }
        // Not every file system has nameless files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => write_new(path, value),
        Err(e) => Err(e.into()),
    }
}

/// Writes a file that is either whole or not there: temporary name, fsync, rename.
pub(crate) fn write_new(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let written = file.and_then(|mut file| {
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_layout_is_refused_with_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        StateDir::open(dir.path()).unwrap();
        StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("state.json"), r#"{"version":2}"#).unwrap();
        let message = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("version 2") && message.contains("version 1"), "{message}");
    }

    #[test]
    fn peeking_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        StateDir::peek(dir.path().join("s")).unwrap();
        assert!(!dir.path().join("s").exists());
    }
}
