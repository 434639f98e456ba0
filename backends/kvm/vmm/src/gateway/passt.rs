//! The process of passt.
#![allow(unsafe_code)] // what runs between fork and exec cannot be checked by the compiler

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use microagent_confine::Limits;
use microagent_vmm_protocol::GatewaySpec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::guard::LastWords;
use crate::signals;

/// How it is told that its standard input is the socket to the guest, with which it ends.
const SOCKET: [&str; 2] = ["--fd", "0"];
/// How many descriptors passt may have: each connection has one, or several.
const OPEN_FILES: u64 = 16 << 10;
/// How much of what it says goes to the log, in bytes; a guest can make it talk.
const MAX_LOGGED: usize = 64 << 10;
/// How long a passt whose socket has ended may take to say why.
const WORDS_WITHIN: Duration = Duration::from_secs(2);

/// A passt that runs. Dropped, it ends.
pub(crate) struct Passt {
    child: Child,
    socket: UnixStream,
    errors: Option<OwnedFd>,
    words: LastWords,
    logged: usize,
}

impl Passt {
    /// Starts it.
    pub(crate) fn start(spec: &GatewaySpec) -> io::Result<Self> {
        let (socket, its_own) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let gateway = rustix::process::getpid();
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let open_files = most.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
        let limits = Limits { file_size: 0, open_files };
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).args(SOCKET).env_clear();
        command.stdin(OwnedFd::from(its_own)).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: `prepare` makes system calls only; it neither allocates nor locks, and this
        // process has one thread.
        unsafe { command.pre_exec(move || prepare(gateway, limits)) };
        let mut child = command.spawn()?;
        let errors = child.stderr.take().map(OwnedFd::from);
        if let Some(errors) = &errors {
            rustix::io::ioctl_fionbio(errors, true)?;
        }
        Ok(Self { child, socket, errors, words: LastWords::default(), logged: 0 })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The socket to it, which does not block.
    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// What it says, until that has ended.
    pub(crate) fn errors(&self) -> Option<BorrowedFd<'_>> {
        self.errors.as_ref().map(|fd| fd.as_fd())
    }

    /// Hears what it has said.
    pub(crate) fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(errors) = &self.errors {
            match rustix::io::read(errors, &mut buffer) {
                Ok(len @ 1..) => {
                    self.words.push(&buffer[..len]);
                    let logged = len.min(MAX_LOGGED - self.logged);
                    self.logged += logged;
                    let _ = io::stderr().write_all(&buffer[..logged]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => self.errors = None,
            }
        }
    }

    /// The last line that it said before its end, which is near.
    pub(crate) fn last_words(&mut self) -> String {
        let until = Instant::now() + WORDS_WITHIN;
        self.listen();
        while let Some(errors) = &self.errors {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(errors, PollFlags::IN)];
            let timeout = Timespec::try_from(left).ok();
            if left.is_zero() || rustix::event::poll(&mut fds, timeout.as_ref()).is_err() {
                break;
            }
            self.listen();
        }
        let text = std::mem::take(&mut self.words).into_text();
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        line.map_or_else(|| self.end(), str::to_owned)
    }

    /// Ends it; how it ended.
    fn end(&mut self) -> String {
        if self.errors.is_some() {
            let _ = self.child.kill();
        }
        self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Runs in the child between fork and exec.
fn prepare(gateway: Pid, limits: Limits) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(gateway) {
        // The gateway died before it could be followed.
        return Err(Errno::SRCH.into());
    }
    rustix::process::setsid()?;
    signals::reset()?;
    limits.apply()
}
