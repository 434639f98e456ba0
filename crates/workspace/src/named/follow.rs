//! Reading what a workspace's files say, and what they will.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use microagent_process::watched;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::registered::Registered;
use super::shim;
use crate::{Name, RunError, StateDir, events};

/// How much is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// What of a workspace is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What its setup commands and its command printed.
    Output,
    /// What happened to it, a JSON object a line.
    Events,
}

/// Whether what is yet to come is read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// What is there now.
    Now,
    /// All, until the workspace is at rest.
    Rest,
    /// All, for ever.
    Ever,
}

/// Writes what `source` says to `sink`.
///
/// # Errors
/// `NoWorkspace`, and what reading or writing meets.
pub async fn read(
    state: &StateDir,
    name: &Name,
    source: Source,
    until: Until,
    sink: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(), RunError> {
    let workspace = Registered::find(state, name)?;
    let failed = |e| RunError::state(format!("cannot read what workspace {name} says"), e);
    let (older, path) = match source {
        Source::Output => (Some(workspace.file(shim::OUTPUT_OLDER)), workspace.file(shim::OUTPUT)),
        Source::Events => (None, workspace.file(events::FILE)),
    };
    if let Some(mut file) = older.and_then(|older| File::open(older).ok()) {
        pass(&mut file, sink).await.map_err(failed)?;
    }
    // Before the first look, so that nothing is missed between.
    let watch = Watch::of(workspace.path()).map_err(failed)?;
    let mut followed = Followed { path, file: None };
    loop {
        // First this and then what it says: what was written before the end is read.
        let resting = until == Until::Rest && workspace.standing()?.state.is_resting();
        followed.pass(sink).await.map_err(failed)?;
        if until == Until::Now || resting {
            return Ok(());
        }
        let gone = async {
            match workspace.shim() {
                Ok(Some(shim)) if until == Until::Rest => _ = shim.ended().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = watch.changed() => changed.map_err(failed)?,
            () = gone => {}
        }
        // Removed with the workspace.
        workspace.manifest()?;
    }
}

/// A file that may not be there yet, and that another may take the place of.
struct Followed {
    path: PathBuf,
    file: Option<File>,
}

impl Followed {
    async fn pass(&mut self, sink: &mut (dyn AsyncWrite + Send + Unpin)) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            pass(file, sink).await?;
        }
        if self.is_current()? {
            return Ok(());
        }
        match File::open(&self.path) {
            Ok(mut file) => {
                pass(&mut file, sink).await?;
                self.file = Some(file);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn is_current(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let held = file.metadata()?;
        let Ok(there) = fs::metadata(&self.path) else { return Ok(true) };
        let same = (held.dev(), held.ino()) == (there.dev(), there.ino());
        // Begun anew in place.
        Ok(same && file.stream_position()? <= there.len())
    }
}

async fn pass(file: &mut File, sink: &mut (dyn AsyncWrite + Send + Unpin)) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return sink.flush().await;
        }
        sink.write_all(piece.get(..read).unwrap_or_default()).await?;
    }
}

/// Tells when files change.
struct Watch {
    notify: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Those of a workspace.
    fn of(workspace: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let notify = watched(inotify::init(flags)?)?;
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&notify, workspace, events)?;
        Ok(Self { notify })
    }

    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.notify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // What happened is seen by looking; this is emptied to be told again.
        while inotify::Reader::new(self.notify.get_ref(), &mut buffer).next().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_is_added_and_what_is_begun_anew_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut followed = Followed { path: path.clone(), file: None };
        let mut got = Vec::new();
        followed.pass(&mut got).await.unwrap();
        let mut log = File::create(&path).unwrap();
        log.write_all(b"one ").unwrap();
        followed.pass(&mut got).await.unwrap();
        log.write_all(b"two ").unwrap();
        fs::rename(&path, dir.path().join("older")).unwrap();
        fs::write(&path, "three").unwrap();
        followed.pass(&mut got).await.unwrap();
        followed.pass(&mut got).await.unwrap();
        assert_eq!(got, b"one two three");
    }

    #[tokio::test]
    async fn a_change_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let watch = Watch::of(dir.path()).unwrap();
        fs::write(&path, "x").unwrap();
        watch.changed().await.unwrap();
    }
}
