//! Watching the child: its console, its last words, its end, and the life pipe.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use microagent_vmm_protocol::{ChildExit, EventWatch};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::console::ConsoleWriter;
use super::event_watch::WordWatch;
use super::last_words::LastWords;
use super::panic_watch::PanicWatch;
use crate::life::Life;

/// How much is read from a pipe at once, in bytes: what a pipe holds.
const CHUNK: usize = 64 << 10;
/// How much is read after the child's end from pipes that its own children may hold open,
/// in bytes: the most that an unprivileged user's pipe can hold.
const REST: usize = 1 << 20;
/// How long a killed child may take to end. The kernel kills it when it can; the parent-death
/// signal stands behind that.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A child and all that comes from it.
pub(crate) struct Watch {
    child: Child,
    pidfd: OwnedFd,
    console: Source,
    errors: Source,
    events: Source,
    log: ConsoleWriter,
    panic: PanicWatch,
    word: Option<WordWatch>,
    last_words: LastWords,
}

impl Watch {
    /// Watches `child`, whose output and errors are pipes, and the events that it may tell.
    pub(crate) fn new(
        mut child: Child,
        log: ConsoleWriter,
        events: Option<(OwnedFd, &EventWatch)>,
    ) -> io::Result<Self> {
        // It has not been waited for, so the number is still its own.
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or(Errno::SRCH)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let console = Source::new(child.stdout.take().map(OwnedFd::from))?;
        let errors = Source::new(child.stderr.take().map(OwnedFd::from))?;
        let (events, word) = events.map(|(fd, watch)| (fd, WordWatch::new(watch))).unzip();
        let events = Source::new(events)?;
        let (panic, last_words) = Default::default();
        Ok(Self { child, pidfd, console, errors, events, log, panic, word, last_words })
    }

    /// Keeps what comes until the child has ended, or has been killed because the life pipe
    /// did or the word was among its events, and returns that pipe for what is left to do.
    pub(crate) fn until_exit(mut self, life: Option<Life>) -> (ChildExit, Option<Life>) {
        let mut buffer = vec![0; CHUNK];
        let mut killed_at: Option<Instant> = None;
        let mut by_guard = false;
        let status = loop {
            let ready = self.poll(life.as_ref().filter(|_| killed_at.is_none()), killed_at);
            self.take_events(&mut buffer, CHUNK);
            if killed_at.is_none() && (ready.life_ended || self.word_seen()) {
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
                killed_at = Some(Instant::now());
                by_guard = !self.word_seen();
            }
            self.take_console(&mut buffer, CHUNK);
            self.take_errors(&mut buffer, CHUNK);
            if ready.child_ended
                && let Ok(Some(status)) = self.child.try_wait()
            {
                break Some(status);
            }
            if killed_at.is_some_and(|at| at.elapsed() >= KILL_PATIENCE) {
                tracing::error!(pid = self.child.id(), "killed, but does not end");
                break None;
            }
        };
        self.take_console(&mut buffer, REST);
        self.take_errors(&mut buffer, REST);
        self.take_events(&mut buffer, REST);
        (self.exit(status, by_guard), life)
    }

    fn exit(self, status: Option<ExitStatus>, by_guard: bool) -> ChildExit {
        ChildExit {
            code: status.and_then(|s| s.code()),
            signal: status.and_then(|s| s.signal()),
            by_guard,
            by_event: self.word_seen(),
            panic: self.panic.seen(),
            last_words: self.last_words.into_text(),
        }
    }

    fn poll(&self, life: Option<&Life>, killed_at: Option<Instant>) -> Ready {
        let nothing = PollFlags::empty();
        let sources = [self.console.as_fd(), self.errors.as_fd(), self.events.as_fd()];
        let mut fds = vec![PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        fds.extend(life.map(|life| PollFd::from_borrowed_fd(life.as_fd(), nothing)));
        fds.extend(
            sources.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        let timeout = killed_at
            .and_then(|at| Timespec::try_from(KILL_PATIENCE.saturating_sub(at.elapsed())).ok());
        if rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted, or out of memory for a moment: the pipes do not block, so looking
            // at them is harmless, and what else happened shows next time.
            return Ready { child_ended: false, life_ended: false };
        }
        Ready {
            child_ended: !fds[0].revents().is_empty(),
            life_ended: life.is_some() && Life::has_ended(fds[1].revents()),
        }
    }

    fn take_console(&mut self, buffer: &mut [u8], limit: usize) {
        self.console.take(buffer, limit, |bytes| {
            self.panic.look(bytes);
            self.log.write(bytes);
        });
    }

    fn take_errors(&mut self, buffer: &mut [u8], limit: usize) {
        self.errors.take(buffer, limit, |bytes| self.last_words.push(bytes));
    }

    fn take_events(&mut self, buffer: &mut [u8], limit: usize) {
        self.events.take(buffer, limit, |bytes| {
            self.word.iter_mut().for_each(|word| word.look(bytes));
        });
    }

    fn word_seen(&self) -> bool {
        self.word.as_ref().is_some_and(WordWatch::seen)
    }
}

struct Ready {
    child_ended: bool,
    life_ended: bool,
}

/// The read end of a pipe that does not block, until it has ended.
struct Source(Option<OwnedFd>);

impl Source {
    fn new(fd: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self(fd))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|fd| fd.as_fd())
    }

    /// Takes what is there, about `limit` bytes of it.
    fn take(&mut self, buffer: &mut [u8], limit: usize, mut each: impl FnMut(&[u8])) {
        let mut taken = 0;
        while taken < limit {
            let Some(fd) = &self.0 else { return };
            match rustix::io::read(fd, &mut *buffer) {
                Ok(len @ 1..) => {
                    taken += len;
                    each(&buffer[..len]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => self.0 = None,
            }
        }
    }
}
