//! A tap device as host end: each read and each write is a frame.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use vm_memory::VolatileSlice;

use super::host::{Gone, Sent};
use super::protocol::MAX_FRAME;
use crate::virtio::vectored::{self, Vectors};

/// The device, and the one frame of it that is not yet used.
#[derive(Debug)]
pub(crate) struct Tap {
    tap: OwnedFd,
    buffer: Box<[u8]>,
    /// How long the frame in `buffer` is.
    held: Option<usize>,
    readable: bool,
    writable: bool,
}

impl Tap {
    pub(crate) fn new(tap: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&tap, fcntl_getfl(&tap)? | OFlags::NONBLOCK)?;
        let buffer = vec![0; MAX_FRAME].into();
        Ok(Self { tap, buffer, held: None, readable: true, writable: true })
    }

    pub(crate) fn happened(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    pub(crate) fn peek(&mut self) -> Result<Option<&[u8]>, Gone> {
        while self.held.is_none() {
            if !self.readable {
                return Ok(None);
            }
            match rustix::io::read(&self.tap, &mut self.buffer[..]) {
                // What stands in for a tap device in a test can be at its end.
                Ok(0) => return Err(Gone::Closed),
                Ok(len) => self.held = Some(len),
                Err(Errno::INTR) => {}
                Err(Errno::BADFD) => return Err(Gone::Closed),
                // Among them those of an interface that is down, and may come up again.
                Err(_) => self.readable = false,
            }
        }
        Ok(self.held.and_then(|len| self.buffer.get(..len)))
    }

    pub(crate) fn consume(&mut self) {
        self.held = None;
    }

    pub(crate) fn send<'m>(
        &mut self,
        frame: &[VolatileSlice<'m>],
        vectors: &mut Vectors<'m>,
    ) -> Sent {
        if !self.writable {
            return Sent::NotNow;
        }
        match vectored::write(self.tap.as_fd(), frame, vectors) {
            Ok(_) => Sent::Whole,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Sent::NotNow
            }
            Err(_) => Sent::Refused,
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}
