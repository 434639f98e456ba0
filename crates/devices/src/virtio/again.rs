//! How a device sees to it that it is called again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// A descriptor among those that a device wants to hear of, which it makes ready itself: a
/// driver that never pauses must not keep the device from returning.
#[derive(Debug)]
pub(crate) struct Again(OwnedFd);

impl Again {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Asks for a call.
    pub(crate) fn ask(&self) {
        // Fails only where it was asked for 2^64 times already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes note that it is called.
    pub(crate) fn answered(&self) {
        // Fails where it was not asked for.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Again {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
