//! Waiting for sockets and for deadlines, with one descriptor to poll for both.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// What a socket is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) u64);

/// The token of the timer.
const TIMER: Token = Token(0);
/// The lowest token that is free for sockets.
pub(crate) const FIRST_TOKEN: u64 = 1;

/// How many events are taken at once.
const BATCH: usize = 64;

/// What happened to a socket. It is told once; who does not use it up has to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// There is something to read, or the end.
    pub(crate) readable: bool,
    /// There is room again.
    pub(crate) writable: bool,
    /// The other end is gone for both directions.
    pub(crate) gone: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Something happened to a socket.
    Socket(Token, Readiness),
    /// The deadline passed.
    Deadline,
}

/// Sockets and one deadline.
#[derive(Debug)]
pub(crate) struct Sockets {
    epoll: OwnedFd,
    timer: OwnedFd,
    deadline: Option<Instant>,
}

impl Sockets {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER.0), flags)?;
        Ok(Self { epoll, timer, deadline: None })
    }

    /// Watches a socket until it is closed.
    pub(crate) fn watch(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        use epoll::EventFlags as E;
        let flags = E::IN | E::OUT | E::RDHUP | E::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token.0), flags)?)
    }

    /// Sees to it that the deadline is told of no later than `at`.
    pub(crate) fn wake_by(&mut self, at: Instant) {
        if self.deadline.is_none_or(|deadline| at < deadline) {
            self.set_timer(Some(at));
        }
    }

    /// The next deadline, or none.
    pub(crate) fn set_timer(&mut self, at: Option<Instant>) {
        self.deadline = at;
        // Zero would disarm it.
        let left = at.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Ok(it_value) = Timespec::try_from(left) {
            let spec = Itimerspec { it_interval, it_value };
            // Fails for no time that `Timespec` holds.
            let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec);
        }
    }

    /// Takes what has happened, without waiting. Nothing: nothing has.
    pub(crate) fn take(&self) -> Vec<Happening> {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, &mut events[..], Some(&now)) {
            Ok((events, _)) => events.iter().map(happening).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl AsFd for Sockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn happening(event: &epoll::Event) -> Happening {
    use epoll::EventFlags as E;
    let (flags, token) = (event.flags, Token(event.data.u64()));
    if token == TIMER {
        return Happening::Deadline;
    }
    let gone = flags.intersects(E::HUP | E::ERR);
    Happening::Socket(
        token,
        Readiness {
            readable: gone || flags.intersects(E::IN | E::RDHUP),
            writable: flags.contains(E::OUT),
            gone,
        },
    )
}
