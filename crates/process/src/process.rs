//! One process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};

use crate::watched::watched;

/// A process, whatever becomes of its number: when it started tells it from a later one.
/// Only within one boot of the host, which the record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
}

/// A process that is held by a descriptor, or known to be gone.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn now(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|e| match e {
            Errno::SRCH => io::ErrorKind::NotFound.into(),
            e => io::Error::from(e),
        })?;
        // After the descriptor: what is read is of the process that it holds, or of none.
        let started = start_time(pid)?;
        Ok(Self { id: ProcessId { pid, started }, pidfd: Some(pidfd) })
    }

    /// The process that was recorded, or that it is gone.
    ///
    /// # Errors
    /// What looking for it meets.
    pub fn find(id: ProcessId) -> io::Result<Self> {
        match Self::now(id.pid) {
            Ok(process) if process.id == id => Ok(process),
            Ok(_) => Ok(Self::gone(id)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::gone(id)),
            Err(e) => Err(e),
        }
    }

    /// A process that is gone.
    pub fn gone(id: ProcessId) -> Self {
        Self { id, pidfd: None }
    }

    /// Which it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Its children, as far as they can be seen.
    pub fn children(&self) -> Vec<Process> {
        let pid = self.id.pid;
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        list.split_whitespace().filter_map(|pid| Self::now(pid.parse().ok()?).ok()).collect()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.poll(Duration::ZERO)
    }

    /// Waits for its end, blocking, at most for `within`; whether it came.
    pub fn wait(&self, within: Duration) -> bool {
        let ended = self.poll(within);
        self.reap();
        ended
    }

    fn poll(&self, within: Duration) -> bool {
        let Some(pidfd) = &self.pidfd else { return true };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        let within = Timespec::try_from(within).ok();
        rustix::event::poll(&mut fds, within.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What watching it meets.
    pub async fn ended(&self) -> io::Result<()> {
        if let Some(pidfd) = self.pidfd.as_ref().filter(|_| !self.has_ended()) {
            // A descriptor of its own: two may wait for one process.
            let waiting = watched(pidfd.try_clone()?)?;
            let _ = waiting.readable().await?;
        }
        self.reap();
        Ok(())
    }

    /// Waits for its end, at most for `within`; whether it came.
    ///
    /// # Errors
    /// What watching it meets.
    pub async fn ended_within(&self, within: Duration) -> io::Result<bool> {
        match tokio::time::timeout(within, self.ended()).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Kills it. One that has ended is fine.
    ///
    /// # Errors
    /// What the system says against it.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks it to end as whoever works at it would: by SIGTERM, and by SIGINT where that is not
    /// to be waited for. That it has ended is fine.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask_to_end(&self, at_once: bool) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        if at_once { self.signal(Signal::INT) } else { Ok(()) }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pidfd) = &self.pidfd else { return Ok(()) };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes its exit status, if it is there and ours to take, so that no zombie is left;
    /// whether there is nothing left to take.
    fn reap(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // An error is ECHILD: another's child, or taken already.
        !matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
    }

    /// Takes its exit status whenever it comes, on a thread: for a child that nobody looks
    /// after any more.
    pub fn abandon(&self) {
        if self.reap() {
            return;
        }
        let Some(Ok(pidfd)) = self.pidfd.as_ref().map(OwnedFd::try_clone) else { return };
        let wait = move || {
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        };
        // Without a thread it stays a zombie until this program ends.
        let _ = std::thread::Builder::new().name("reaper".into()).spawn(wait);
    }
}

fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; what follows the last one does not.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest);
    let started = fields.and_then(|fields| fields.split(' ').nth(19));
    started
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in its stat"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_child_is_seen_killed_and_reaped() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::now(child.id()).unwrap();
        assert!(!Process::find(process.id()).unwrap().has_ended());
        assert!(!process.has_ended());
        assert!(!process.ended_within(Duration::ZERO).await.unwrap());
        process.kill().unwrap();
        assert!(process.ended_within(Duration::from_secs(5)).await.unwrap());
        assert!(process.has_ended());
        assert!(Process::now(child.id()).is_err(), "a zombie");
        assert!(Process::find(process.id()).unwrap().has_ended());
        process.kill().unwrap();
        process.ended().await.unwrap();
        assert!(child.wait().is_err(), "its status was there to take");
    }

    #[test]
    fn another_with_the_same_number_is_another() {
        let me = Process::now(std::process::id()).unwrap();
        let earlier = ProcessId { started: me.id().started - 1, ..me.id() };
        assert!(Process::find(earlier).unwrap().has_ended());
        assert!(!me.has_ended());
        assert!(Process::find(ProcessId { pid: 0, started: 0 }).is_err());
    }
}
