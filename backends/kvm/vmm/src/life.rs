//! The pipe whose end of file ends an attached machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

/// The read end of the life pipe. Nothing is ever read from it, since others watch the same
/// pipe: that the last writer is gone shows as a hang-up.
#[derive(Debug)]
pub(crate) struct Life(OwnedFd);

impl Life {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// For polling; no events need to be asked for.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether what poll returned says that it is over.
    pub(crate) fn has_ended(events: PollFlags) -> bool {
        events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    /// Waits for the end, for as long as it takes: that is what a guard is for.
    pub(crate) fn wait_for_end(&self) {
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) if Self::has_ended(fds[0].revents()) => return,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
