//! Passing frames on, both ways, without ever waiting for one side while the other has
//! something.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use microagent_devices::fence::{Fence, end_of_handshake};
use microagent_devices::virtio::net::FrameTooLong;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::passt::Passt;
use super::way::Way;
use crate::life::Life;

/// How long passt may take for what a guest said before its end.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// What is between a guest's device and passt.
pub(crate) struct Relay {
    device: UnixStream,
    fence: Fence,
    out: Way,
    back: Way,
}

/// What ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest's device is gone.
    Device,
    /// passt is.
    Passt,
    /// Whoever wanted the machine is.
    Life,
}

/// What became of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// There may be more later.
    On,
    /// It has ended.
    Ended,
}

impl Relay {
    /// Between this device and a passt to be named later.
    pub(crate) fn new(device: UnixStream, fence: Fence) -> io::Result<Self> {
        device.set_nonblocking(true)?;
        Ok(Self { device, fence, out: Way::new(), back: Way::new() })
    }

    /// Asks passt something, before the guest can say anything.
    pub(crate) fn ask(&mut self, frame: &[u8]) {
        self.out.add(frame);
    }

    /// Tells passt what there is to tell, and keeps for the guest what it says and `lets`
    /// through.
    pub(crate) fn exchange(
        &mut self,
        passt: &Passt,
        lets: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Moved> {
        match send(passt.socket(), &mut self.out)? {
            Moved::On => receive(passt.socket(), &mut self.back, lets),
            Moved::Ended => Ok(Moved::Ended),
        }
    }

    /// Passes frames on until one side has ended.
    pub(crate) fn run(&mut self, passt: &mut Passt, life: Option<&Life>) -> io::Result<End> {
        loop {
            if self.life_ended(passt, life) {
                return Ok(End::Life);
            }
            passt.listen();
            let now = Instant::now();
            let Self { device, fence, out, back } = self;
            let device = &*device;
            let judge = |frame: &[u8]| {
                let passes = fence.lets_out(frame, now);
                if let (true, Some(answer)) = (passes, end_of_handshake(frame)) {
                    back.add(&answer);
                }
                passes
            };
            if receive(device, out, judge)? == Moved::Ended {
                return Ok(End::Device);
            }
            let note = |frame: &[u8]| {
                fence.note_in(frame, now);
                true
            };
            let ended = receive(passt.socket(), back, note)? == Moved::Ended
                || send(passt.socket(), out)? == Moved::Ended;
            if ended {
                return Ok(End::Passt);
            }
            if send(device, back)? == Moved::Ended {
                return Ok(End::Device);
            }
        }
    }

    /// Gives passt what the guest said last, and lets it finish with that, for a bounded time:
    /// a guest may end as soon as it has spoken.
    pub(crate) fn hand_over(&mut self, passt: &Passt) {
        let until = Instant::now() + LAST_WITHIN;
        let socket = passt.socket();
        let mut told = false;
        loop {
            if self.out.output().is_empty() && !told {
                told = socket.shutdown(Shutdown::Write).is_ok();
            }
            let left = until.saturating_duration_since(Instant::now());
            let write = if told { PollFlags::empty() } else { PollFlags::OUT };
            let mut fds = [PollFd::new(socket, PollFlags::IN | write)];
            let timeout = Timespec::try_from(left).ok();
            if left.is_zero() || rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
                return;
            }
            // Nobody is left to hear what it says but that it has ended.
            self.back = Way::new();
            let ended = receive(socket, &mut self.back, |_| false);
            if !matches!((ended, send(socket, &mut self.out)), (Ok(Moved::On), Ok(Moved::On))) {
                return;
            }
        }
    }

    /// Waits until something can be done; whether it is the end of the life pipe.
    fn life_ended(&self, passt: &Passt, life: Option<&Life>) -> bool {
        let events = |from: &Way, to: &Way| {
            let read = if from.has_room() { PollFlags::IN } else { PollFlags::empty() };
            let write = if to.output().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            read | write
        };
        let mut fds = vec![
            PollFd::new(&self.device, events(&self.out, &self.back)),
            PollFd::new(passt.socket(), events(&self.back, &self.out)),
        ];
        fds.extend(passt.errors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let watched = fds.len();
        fds.extend(life.map(|life| PollFd::from_borrowed_fd(life.as_fd(), PollFlags::empty())));
        // Interrupted or not: what is ready shows by trying.
        let _ = rustix::event::poll(&mut fds, None);
        fds.get(watched).is_some_and(|fd| Life::has_ended(fd.revents()))
    }
}

/// Takes what a socket has, as far as there is room.
fn receive(from: impl AsFd, way: &mut Way, lets: impl FnMut(&[u8]) -> bool) -> io::Result<Moved> {
    if !way.has_room() {
        return Ok(Moved::On);
    }
    match rustix::net::recv(from, way.room(), RecvFlags::DONTWAIT) {
        Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE) => Ok(Moved::Ended),
        Ok((_, len)) => {
            let nonsense = |e: FrameTooLong| io::Error::new(io::ErrorKind::InvalidData, e);
            way.take(len, lets).map(|()| Moved::On).map_err(nonsense)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::On),
        Err(e) => Err(e.into()),
    }
}

/// Gives a socket what it takes.
fn send(to: impl AsFd, way: &mut Way) -> io::Result<Moved> {
    if way.output().is_empty() {
        return Ok(Moved::On);
    }
    match rustix::net::send(to, way.output(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(len) => {
            way.note_sent(len);
            Ok(Moved::On)
        }
        Err(Errno::CONNRESET | Errno::PIPE) => Ok(Moved::Ended),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::On),
        Err(e) => Err(e.into()),
    }
}
