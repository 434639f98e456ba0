//! The host end: frames from it and to it, whatever it is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use vm_memory::VolatileSlice;

use super::config::HostEnd;
use super::frames::FrameTooLong;
use super::stream::Stream;
use super::tap::Tap;
use crate::virtio::vectored::Vectors;

/// The host end of a device. What epoll told of it is kept here until it is used up.
#[derive(Debug)]
pub(crate) struct Host {
    /// Stays open when it is over, as it is watched.
    end: End,
    link: Link,
}

#[derive(Debug)]
enum End {
    Stream(Stream),
    Tap(Tap),
}

/// Whether there is anything at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// There is.
    Up,
    /// There was.
    Down,
}

/// The host end is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    /// It was closed.
    #[error("the host end was closed")]
    Closed,
    /// It does not speak what is spoken here.
    #[error(transparent)]
    Nonsense(#[from] FrameTooLong),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The host has it, or will have what is left of it.
    Whole,
    /// It was not sent: the host has no room; an event tells when it has.
    NotNow,
    /// The host does not want it.
    Refused,
}

impl Host {
    pub(crate) fn new(end: HostEnd) -> io::Result<Self> {
        let end = match end {
            HostEnd::Stream(socket) => End::Stream(Stream::new(socket)?),
            HostEnd::Tap(tap) => End::Tap(Tap::new(tap)?),
        };
        Ok(Self { end, link: Link::Up })
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    /// Is over from now on: nothing comes from it, and it refuses all frames.
    pub(crate) fn give_up(&mut self) {
        self.link = Link::Down;
    }

    /// Something happened to its descriptor.
    pub(crate) fn happened(&mut self) {
        match &mut self.end {
            End::Stream(stream) => stream.happened(),
            End::Tap(tap) => tap.happened(),
        }
    }

    /// The next frame for the guest. None: an event tells of the next.
    pub(crate) fn peek(&mut self) -> Result<Option<&[u8]>, Gone> {
        match &mut self.end {
            _ if self.link == Link::Down => Ok(None),
            End::Stream(stream) => stream.peek(),
            End::Tap(tap) => tap.peek(),
        }
    }

    /// Drops the next frame.
    pub(crate) fn consume(&mut self) {
        match &mut self.end {
            End::Stream(stream) => stream.consume(),
            End::Tap(tap) => tap.consume(),
        }
    }

    /// Sends a frame of the guest.
    pub(crate) fn send<'m>(
        &mut self,
        frame: &[VolatileSlice<'m>],
        vectors: &mut Vectors<'m>,
    ) -> Result<Sent, Gone> {
        match &mut self.end {
            _ if self.link == Link::Down => Ok(Sent::Refused),
            End::Stream(stream) => stream.send(frame, vectors),
            End::Tap(tap) => Ok(tap.send(frame, vectors)),
        }
    }

    /// Sends what is left of an earlier frame. A guest that sends nothing any more does not
    /// keep the rest back.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        match &mut self.end {
            End::Stream(stream) if self.link == Link::Up => stream.flush().map(drop),
            End::Stream(_) | End::Tap(_) => Ok(()),
        }
    }
}

impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.end {
            End::Stream(stream) => stream.as_fd(),
            End::Tap(tap) => tap.as_fd(),
        }
    }
}
