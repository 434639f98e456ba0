//! Signals as readable events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What programs of ordinary images send to process 1 to end the machine.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2];

/// The signals of this process; blocked, so that they wait to be read.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

/// One that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A child ended.
    Child,
    /// The machine shall end; the name of the signal.
    End(&'static str),
}

impl Signals {
    /// Blocks the signals for this process and its children until they
    /// [give them back](give_back).
    pub(crate) fn take() -> io::Result<Self> {
        let mut set: SigSet = ENDING.into_iter().collect();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next one, if any.
    pub(crate) fn next(&self) -> Option<Event> {
        let info = self.0.read_signal().ok()??;
        match Signal::try_from(info.ssi_signo as i32) {
            Ok(signal) if ENDING.contains(&signal) => Some(Event::End(signal.as_str())),
            _ => Some(Event::Child),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// In a child: nothing is blocked, as programs expect.
pub(crate) fn give_back() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}
