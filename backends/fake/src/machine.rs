//! One fake machine.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, ErrorKind, Exit, Isolation, Machine, Pause, Result, RunDir, State,
    VsockSocket,
};
use rustix::fs::OFlags;
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::files;
use crate::record::Record;
use crate::{guest, status};

/// How long the processes of a machine may take to end once they must.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A machine that was built or taken up. All that it knows is in its run directory and in
/// `/proc`, so any number of handles of any processes agree.
pub(crate) struct FakeMachine {
    dir: RunDir,
    record: Record,
    vsock: VsockSocket,
    console: ConsoleLog,
    /// How it ended, once that was seen: `destroy` removes what tells it.
    exit: Mutex<Option<Exit>>,
}

impl FakeMachine {
    pub(crate) fn new(dir: RunDir, record: Record) -> Self {
        let vsock = VsockSocket::new(dir.file(files::VSOCK));
        let console = ConsoleLog::new(dir.file(files::CONSOLE));
        Self { dir, record, vsock, console, exit: Mutex::new(None) }
    }

    fn now(&self) -> State {
        let is = |name| self.dir.file(name).exists();
        if !self.record.guest.lives() {
            State::Stopped
        } else if is(files::HELD) {
            State::Created
        } else if is(files::PAUSED) {
            State::Paused
        } else {
            State::Running
        }
    }

    fn wrong_moment(&self, what: &str) -> Error {
        let state = self.now();
        Error::new(ErrorKind::InvalidState, format!("cannot {what} a machine that is {state:?}"))
    }

    /// How it ended, as far as its files tell; called when no process of it runs.
    fn read_exit(&self) -> Exit {
        let mut exit = self.exit.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        exit.get_or_insert_with(|| {
            let status = std::fs::read_to_string(self.dir.file(files::EXIT)).ok();
            let asked = self.dir.file(files::KILLED).exists();
            match status.and_then(|status| status.trim().parse().ok()) {
                Some(status) => guest::exit(status, asked),
                // Removed with all else by `destroy` or at the end of its lifetime.
                None if asked || !self.dir.path().exists() => Exit::Killed,
                None => Exit::Crashed { detail: "its guard was killed".into() },
            }
        })
        .clone()
    }

    /// Ends the guest and sees to it that no process of the machine is left.
    async fn end(&self) -> Result<()> {
        // Opened while there may be somebody at its other end.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let alive = options.open(self.dir.file(files::ALIVE)).ok();
        if self.record.guest.lives() {
            match files::make(&self.dir, files::KILLED) {
                Err(error) if self.dir.path().exists() => return Err(error),
                _ => self.record.guest.signal(Signal::KILL)?,
            };
        }
        if !self.record.guard.ended(END_WITHIN).await? {
            self.record.guard.signal(Signal::KILL)?;
        }
        if let Some(watcher) = self.record.watcher {
            // Outlives a guard that was killed.
            watcher.signal(Signal::KILL)?;
        }
        match alive {
            Some(alive) => end_of_file(alive).await,
            None => Ok(()),
        }
    }
}

/// Waits until nobody holds the other end.
async fn end_of_file(mut alive: File) -> Result<()> {
    let mut byte = [0];
    // If nobody held it when this end was opened, no event will ever come.
    if matches!(alive.read(&mut byte), Ok(0)) {
        return Ok(());
    }
    let watch = |e| Error::io("watch the processes of the machine", e);
    let mut alive = pipe::Receiver::from_file(alive).map_err(watch)?;
    match tokio::time::timeout(END_WITHIN, alive.read(&mut byte)).await {
        Ok(ended) => ended.map(drop).map_err(watch),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "processes of the machine do not end")),
    }
}

#[async_trait]
impl Machine for FakeMachine {
    async fn state(&self) -> Result<State> {
        Ok(self.now())
    }

    async fn start(&self) -> Result<()> {
        if self.now() != State::Created || !files::remove(&self.dir, files::HELD)? {
            return Err(self.wrong_moment("start"));
        }
        // Does not wait for a reader: there is one unless the guest has just died.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let mut options = OpenOptions::new();
        let open = options.write(true).custom_flags(flags).open(self.dir.file(files::CONTROL));
        let told = open.and_then(|mut control| control.write_all(b"go\n"));
        told.map_err(|e| Error::io("tell the guest to run", e))
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let deadline = Instant::now() + within;
        // The guest's end first: a guard that was killed cannot tell it.
        for process in [self.record.guest, self.record.guard] {
            let left = deadline.saturating_duration_since(Instant::now());
            if !process.ended(left).await? {
                return Ok(None);
            }
        }
        Ok(Some(self.read_exit()))
    }

    async fn kill(&self) -> Result<()> {
        self.end().await
    }

    async fn destroy(&self) -> Result<()> {
        let ended = self.end().await;
        if ended.is_ok() {
            self.read_exit();
        }
        let removed = self.dir.remove();
        ended.and(removed)
    }

    fn vsock(&self) -> &VsockSocket {
        &self.vsock
    }

    fn console(&self) -> &ConsoleLog {
        &self.console
    }

    async fn isolation(&self) -> Result<Isolation> {
        let mut roles = vec![("guard", self.record.guard), ("monitor", self.record.guest)];
        roles.extend(self.record.watcher.map(|watcher| ("watcher", watcher)));
        let found = roles.iter().filter_map(|(role, process)| status::isolation(role, *process));
        let processes: Vec<_> = found.collect();
        if processes.is_empty() {
            return Err(self.wrong_moment("look at the processes of"));
        }
        Ok(Isolation { processes })
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }
}

#[async_trait]
impl Pause for FakeMachine {
    async fn pause(&self) -> Result<()> {
        if self.now() != State::Running || !files::make(&self.dir, files::PAUSED)? {
            return Err(self.wrong_moment("pause"));
        }
        self.record.guest.signal(Signal::STOP).map(drop)
    }

    async fn resume(&self) -> Result<()> {
        if self.now() != State::Paused || !files::remove(&self.dir, files::PAUSED)? {
            return Err(self.wrong_moment("resume"));
        }
        self.record.guest.signal(Signal::CONT).map(drop)
    }
}
