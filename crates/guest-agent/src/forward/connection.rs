//! One connection of a program, and the one to the host that it became.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// What is under way in one direction here, at most, in bytes.
const BUFFER: usize = 16 << 10;

/// Two connections made into one.
#[derive(Debug)]
pub(super) struct Connection {
    client: OwnedFd,
    host: OwnedFd,
    /// Whether the host has not accepted yet.
    connecting: bool,
    outward: Lane,
    inward: Lane,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Taken, to be given from `given` on.
    bytes: Vec<u8>,
    given: usize,
    /// The source has ended its half.
    ended: bool,
    /// So has this side, towards the sink.
    shut: bool,
}

/// The connection is of no more use.
struct Broken;

impl Connection {
    /// Of a program's connection and one to the host that may be under way; both non-blocking.
    pub(super) fn new(client: OwnedFd, host: OwnedFd) -> Self {
        let (outward, inward) = Default::default();
        Self { client, host, connecting: true, outward, inward }
    }

    /// What to wait for. Never nothing: a direction waits for its source or for its sink. An
    /// end that is waited for in neither direction is left out, since its errors would show
    /// again and again.
    pub(super) fn wants(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let [client, host] = if self.connecting {
            [PollFlags::empty(), PollFlags::OUT]
        } else {
            let flags = |from: &Lane, to: &Lane| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, from.takes());
                flags.set(PollFlags::OUT, to.gives());
                flags
            };
            [flags(&self.outward, &self.inward), flags(&self.inward, &self.outward)]
        };
        let both = [(self.client.as_fd(), client), (self.host.as_fd(), host)];
        both.into_iter().filter(|(_, flags)| !flags.is_empty())
    }

    /// Moves what can be moved; whether it goes on.
    pub(super) fn advance(&mut self) -> bool {
        match self.try_advance() {
            Ok(()) => !(self.outward.shut && self.inward.shut),
            Err(Broken) => {
                reset(&self.client);
                false
            }
        }
    }

    fn try_advance(&mut self) -> Result<(), Broken> {
        if self.connecting {
            socket_error(&self.host).map_err(|_| Broken)?.map_err(|_| Broken)?;
            self.connecting = false;
        }
        self.outward.advance(self.client.as_fd(), self.host.as_fd())?;
        self.inward.advance(self.host.as_fd(), self.client.as_fd())
    }
}

impl Lane {
    fn takes(&self) -> bool {
        !self.ended && self.bytes.is_empty()
    }

    fn gives(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn advance(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Broken> {
        if self.takes() {
            self.take(from)?;
        }
        if self.gives() {
            self.give(to)?;
        }
        if self.ended && !self.gives() && !self.shut {
            shutdown(to, Shutdown::Write).map_err(|_| Broken)?;
            self.shut = true;
        }
        Ok(())
    }

    fn take(&mut self, from: BorrowedFd<'_>) -> Result<(), Broken> {
        self.bytes.resize(BUFFER, 0);
        let count = match rustix::io::read(from, &mut self.bytes[..]) {
            Ok(count) => {
                self.ended = count == 0;
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return Err(Broken),
        };
        self.bytes.truncate(count);
        if count == 0 {
            // An idle connection holds no memory.
            self.bytes = Vec::new();
        }
        Ok(())
    }

    fn give(&mut self, to: BorrowedFd<'_>) -> Result<(), Broken> {
        while let Some(rest) = self.bytes.get(self.given..).filter(|rest| !rest.is_empty()) {
            match send(to, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.given += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Broken),
            }
        }
        self.bytes.clear();
        self.given = 0;
        Ok(())
    }
}

/// Has the close of a connection be seen as a reset, so that what was cut off does not look
/// complete.
pub(super) fn reset(client: impl AsFd) {
    // Fails for what is no TCP connection.
    let _ = set_socket_linger(client, Some(Duration::ZERO));
}
