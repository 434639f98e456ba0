//! A stream socket as host end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::SendFlags;
use vm_memory::{Bytes, VolatileSlice};

use super::frames::{Frames, PREFIX_LEN};
use super::host::{Gone, Sent};
use super::protocol::MAX_FRAME;
use crate::virtio::vectored::{self, Vectors};

/// The socket, what it said that is not yet used, and what it has not yet taken: at most one
/// frame.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: UnixStream,
    frames: Frames,
    readable: bool,
    pending: Vec<u8>,
    /// How much of `pending` was sent.
    sent: usize,
    writable: bool,
}

impl Stream {
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let frames = Frames::default();
        // Until it says otherwise.
        let (readable, writable) = (true, true);
        Ok(Self { socket, frames, readable, pending: Vec::new(), sent: 0, writable })
    }

    pub(crate) fn happened(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    pub(crate) fn peek(&mut self) -> Result<Option<&[u8]>, Gone> {
        while self.frames.peek()?.is_none() {
            if !self.readable {
                return Ok(None);
            }
            self.receive()?;
        }
        Ok(self.frames.peek()?)
    }

    pub(crate) fn consume(&mut self) {
        self.frames.consume();
    }

    fn receive(&mut self) -> Result<(), Gone> {
        match rustix::io::read(&self.socket, self.frames.room()) {
            Ok(0) => Err(Gone::Closed),
            Ok(count) => {
                // Though it is less than there was room for, the end may be next: an event
                // tells of both at once.
                self.frames.filled(count);
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => {
                self.readable = false;
                Ok(())
            }
            Err(error) => Err(Gone::Failed(error.into())),
        }
    }

    pub(crate) fn send<'m>(
        &mut self,
        frame: &[VolatileSlice<'m>],
        vectors: &mut Vectors<'m>,
    ) -> Result<Sent, Gone> {
        if !self.flush()? {
            return Ok(Sent::NotNow);
        }
        let len: usize = frame.iter().map(VolatileSlice::len).sum();
        // The device has seen to it that it is one.
        let prefix = u32::try_from(len.min(MAX_FRAME)).unwrap_or_default().to_be_bytes();
        match vectored::send(self.socket.as_fd(), &prefix, frame, vectors) {
            Ok(sent) if sent == PREFIX_LEN + len => Ok(Sent::Whole),
            Ok(sent) => {
                self.keep(&prefix, frame, sent);
                self.flush()?;
                Ok(Sent::Whole)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(Sent::NotNow)
            }
            Err(error) => Err(Gone::Failed(error)),
        }
    }

    /// Keeps what is after the first `sent` bytes of a frame and what precedes it.
    fn keep(&mut self, prefix: &[u8; PREFIX_LEN], frame: &[VolatileSlice<'_>], sent: usize) {
        self.pending.clear();
        self.pending.extend_from_slice(prefix);
        for piece in frame {
            let at = self.pending.len();
            self.pending.resize(at + piece.len(), 0);
            // Cannot fail: it is as long as the piece.
            let _ = piece.read_slice(&mut self.pending[at..], 0);
        }
        self.sent = sent;
    }

    /// Sends what is pending, and says whether nothing is any more.
    pub(crate) fn flush(&mut self) -> Result<bool, Gone> {
        while self.sent < self.pending.len() {
            if !self.writable {
                return Ok(false);
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, &self.pending[self.sent..], flags) {
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.writable = false,
                Err(error) => return Err(Gone::Failed(error.into())),
            }
        }
        self.pending.clear();
        self.sent = 0;
        Ok(self.writable)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
