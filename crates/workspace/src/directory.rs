//! The directory of one workspace, and what is left of those whose owner died.
//!
//! Whoever uses a workspace holds the lock on its `lock` file; the system lets go of it
//! when the owner dies, however it dies. A directory that nobody holds and that says
//! `keep` nowhere belongs to a run that was killed, and the next command removes it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock::lock_within;
use crate::{Name, RunError, StateDir};

/// The file whose lock says that a workspace is in use.
const LOCK: &str = "lock";
/// The file that says that a workspace outlives its run.
pub(crate) const MANIFEST: &str = "manifest.json";

/// A workspace's directory, held by this process.
#[derive(Debug)]
pub(crate) struct WorkspaceDir {
    path: PathBuf,
    lock: File,
}

impl WorkspaceDir {
    /// Makes the directory and takes it.
    pub(crate) fn create(state: &StateDir, name: &Name) -> Result<Self, RunError> {
        let path = state.workspaces().join(name.as_str());
        let failed = |e| RunError::state(format!("cannot make workspace {}", path.display()), e);
        let _all = lock_all(state)?;
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RunError::Conflict(name.to_string()));
            }
            other => other.map_err(failed)?,
        }
        let lock = open_lock(&path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { path, lock })
    }

    /// Takes a workspace that was kept.
    ///
    /// # Errors
    /// `NoWorkspace` where there is none of this name; `InUse`.
    pub(crate) fn open(state: &StateDir, name: &Name) -> Result<Self, RunError> {
        let path = state.workspaces().join(name.as_str());
        if !path.join(MANIFEST).exists() {
            return Err(RunError::NoWorkspace(name.to_string()));
        }
        let failed = |e| RunError::state(format!("cannot open workspace {}", path.display()), e);
        let lock = open_lock(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => Err(RunError::InUse(format!("workspace {name}"))),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// Takes the workspace in `path`, where whoever holds it is about to go.
    ///
    /// # Errors
    /// As [`WorkspaceDir::open`]; `InUse` after this time.
    pub(crate) async fn open_within(
        path: PathBuf,
        name: &Name,
        limit: Duration,
    ) -> Result<Self, RunError> {
        let failed = |e| RunError::state(format!("cannot open workspace {}", path.display()), e);
        let gone = || RunError::NoWorkspace(name.to_string());
        let lock = match open_lock(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(gone()),
            lock => lock.map_err(failed)?,
        };
        if !lock_within(&lock, limit).await.map_err(failed)? {
            return Err(RunError::InUse(format!("workspace {name}")));
        }
        // Whoever held it may have removed it.
        if path.join(MANIFEST).exists() { Ok(Self { path, lock }) } else { Err(gone()) }
    }

    /// The workspace whose lock this process was given by whoever held it.
    pub(crate) fn held(path: PathBuf, lock: File) -> Self {
        Self { path, lock }
    }

    /// Hands it over to another process, which holds it as long as it has this file open.
    pub(crate) fn into_lock(self) -> File {
        self.lock
    }

    /// Where it is; absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes it with all that it holds. That it is gone already is fine.
    pub(crate) fn remove(self) -> Result<(), RunError> {
        remove_tree(&self.path)
    }
}

/// Removes what killed runs left behind. What cannot be removed is left for the next time
/// and logged: it is not what the user asked for.
pub(crate) fn sweep(state: &StateDir) -> Result<(), RunError> {
    let _all = lock_all(state)?;
    let Ok(entries) = fs::read_dir(state.workspaces()) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.join(MANIFEST).exists() || in_use(&path) {
            continue;
        }
        tracing::warn!(path = %path.display(), "removing what a killed run left");
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove it");
        }
    }
    Ok(())
}

/// Keeps two processes from making and sweeping the same directory at once.
fn lock_all(state: &StateDir) -> Result<File, RunError> {
    let dir = state.workspaces();
    let failed = |e| RunError::state(format!("cannot lock {}", dir.display()), e);
    let lock = File::open(&dir).map_err(failed)?;
    lock.lock().map_err(failed)?;
    Ok(lock)
}

fn open_lock(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK))
}

fn in_use(dir: &Path) -> bool {
    match open_lock(dir).map(|lock| lock.try_lock()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock)) => true,
        // Not readable is not ours to remove.
        Ok(Err(TryLockError::Error(_))) | Err(_) => true,
    }
}

/// What makes it a workspace goes first and for good: half of one is none, and is swept.
fn remove_tree(path: &Path) -> Result<(), RunError> {
    let manifest = fs::remove_file(path.join(MANIFEST));
    let forgotten = manifest.and_then(|()| File::open(path)?.sync_all());
    let removed = match forgotten {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => fs::remove_dir_all(path),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(RunError::state(format!("cannot remove {}", path.display()), e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_and_nobody_keeps_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let make = |name: &str| WorkspaceDir::create(&state, &Name::new(name).unwrap()).unwrap();
        let held = make("held");
        let kept = make("kept");
        fs::write(kept.file(MANIFEST), "{}").unwrap();
        let (kept_path, dead) = (kept.path().to_owned(), make("dead"));
        let dead_path = dead.path().to_owned();
        drop((kept, dead));
        sweep(&state).unwrap();
        assert!(held.path().exists() && kept_path.exists() && !dead_path.exists());
    }

    #[test]
    fn a_name_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let name = Name::new("one").unwrap();
        let first = WorkspaceDir::create(&state, &name).unwrap();
        assert!(matches!(WorkspaceDir::create(&state, &name), Err(RunError::Conflict(_))));
        first.remove().unwrap();
        WorkspaceDir::create(&state, &name).unwrap();
    }
}
