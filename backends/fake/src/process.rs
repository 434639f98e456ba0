//! Processes by number and birth, so that a number used again is never mistaken.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use microagent_backend::{Error, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// A process of this boot of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: u32,
    /// When it began, in clock ticks since the host booted (`proc(5)`, field 22 of `stat`).
    pub(crate) began: u64,
}

impl Process {
    /// The process that has this number now; `None` if none has.
    pub(crate) fn now(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        (!stat.ended).then_some(Self { pid, began: stat.began })
    }

    /// Whether it has not ended.
    pub(crate) fn lives(self) -> bool {
        Self::now(self.pid) == Some(self)
    }

    /// Sends a signal; says whether there was still somebody to get it.
    pub(crate) fn signal(self, signal: Signal) -> Result<bool> {
        let Some(fd) = self.fd()? else { return Ok(false) };
        match pidfd_send_signal(fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(Error::io(format!("signal process {}", self.pid), e.into())),
        }
    }

    /// Waits for its end, at most for `within`; says whether it has ended.
    pub(crate) async fn ended(self, within: Duration) -> Result<bool> {
        let Some(fd) = self.fd()? else { return Ok(true) };
        let watch = |e: io::Error| Error::io(format!("watch process {}", self.pid), e);
        // Deprecated for what could change its descriptor while registered; this cannot.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).map_err(watch)?;
        match tokio::time::timeout(within, fd.readable()).await {
            Ok(ready) => ready.map(|_| true).map_err(watch),
            Err(_) => Ok(false),
        }
    }

    /// A descriptor of it; `None` if it is gone.
    fn fd(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Looked at after the descriptor is there: so it is that process's.
            Ok(fd) => Ok(self.lives().then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(e) => Err(Error::io(format!("open process {}", self.pid), e.into())),
        }
    }
}

/// The two facts of `/proc/<pid>/stat` that are wanted here.
struct Stat {
    ended: bool,
    began: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, second field, may hold anything but ends at the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        // State is field 3, so field 22 is 18 fields after the one that follows it.
        let began = fields.nth(18)?.parse().ok()?;
        Some(Self { ended: matches!(state, "Z" | "X"), began })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let rest: Vec<_> = (4..=52).map(|n| n.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) Z (b) S {}", rest.join(" "))).unwrap();
        assert_eq!((stat.ended, stat.began), (false, 22));
        assert!(Stat::parse("7 (a) Z").is_none());
    }

    #[test]
    fn another_birth_is_another_process() {
        let own = Process::now(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!Process { began: own.began + 1, ..own }.lives());
    }
}
