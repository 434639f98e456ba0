//! The connection to the host: the first thing that the agent does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use microagent_guest_protocol::{AgentConfig, AgentMessage, HostMessage, Token, VERSION};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, VsockAddr, connect, getsockopt, socket, sockopt,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::failure::SetupError;
use crate::link::{Incoming, Link};

/// `VMADDR_CID_HOST` of Linux's `include/uapi/linux/vm_sockets.h`.
pub(crate) const HOST: u32 = 2;
/// The kernel gives one attempt two seconds, which a host that is short of time can exceed.
const ATTEMPTS: usize = 10;
/// How long the host may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection that is being made while the agent does something else.
#[derive(Debug)]
pub(crate) struct Connecting {
    socket: OwnedFd,
    port: u32,
}

impl Connecting {
    /// Asks for the connection and does not wait for it.
    pub(crate) fn start(port: u32) -> Result<Self, SetupError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None).map_err(failed)?;
        match connect(socket.as_raw_fd(), &VsockAddr::new(HOST, port)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Self { socket, port }),
            Err(error) => Err(failed(error)),
        }
    }

    /// What becomes writable when the connection is there or has failed.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Says hello on a connection that is there, as the session of this number.
    ///
    /// # Errors
    /// That the connection has failed.
    pub(crate) fn hello_again(self, token: &Token, session: u32) -> Result<Link, SetupError> {
        match getsockopt(&self.socket, sockopt::SocketError).map_err(failed)? {
            0 => greet(self.socket, token, session),
            code => Err(failed(Errno::from_raw(code))),
        }
    }

    /// Waits for the connection and says hello.
    pub(crate) fn hello(mut self, config: &AgentConfig) -> Result<Link, SetupError> {
        let mut attempts = 1;
        loop {
            wait(&self.socket, PollFlags::OUT, None).map_err(failed)?;
            match getsockopt(&self.socket, sockopt::SocketError).map_err(failed)? {
                0 => break,
                code if Errno::from_raw(code) == Errno::ETIMEDOUT && attempts < ATTEMPTS => {
                    attempts += 1;
                    self = Self::start(self.port)?;
                }
                code => return Err(failed(Errno::from_raw(code))),
            }
        }
        greet(self.socket, &config.token, 0)
    }
}

fn greet(socket: OwnedFd, token: &Token, session: u32) -> Result<Link, SetupError> {
    let mut link = Link::new(socket);
    let token = token.clone();
    link.send(&AgentMessage::Hello { version: VERSION, token, session })?;
    link.flush()?;
    Ok(link)
}

/// Waits for the host's answer to the hello.
pub(crate) fn welcome(link: &mut Link) -> Result<(), SetupError> {
    let deadline = Instant::now() + ANSWER;
    loop {
        match link.next()? {
            Some(Incoming::Message(HostMessage::Welcome)) => return Ok(()),
            Some(Incoming::Message(HostMessage::Refused { message })) => {
                return Err(SetupError::Refused(message));
            }
            Some(_) => return Err(crate::link::LinkError::Broken("did not answer first").into()),
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SetupError::NoAnswer(ANSWER.as_secs()));
        }
        if let Some(socket) = link.socket() {
            wait(socket, PollFlags::IN, Some(left)).map_err(failed)?;
        }
        link.fill()?;
    }
}

/// Sends all that is queued, unless that takes longer than this.
pub(crate) fn drain(link: &mut Link, within: Duration) {
    let deadline = Instant::now() + within;
    while link.flush().is_ok() && link.has_outgoing() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(socket) = link.socket() else { return };
        if left.is_zero() || wait(socket, PollFlags::OUT, Some(left)).is_err() {
            return;
        }
    }
}

/// Sends all that is queued and waits until the host has closed the connection, unless that
/// takes longer than this.
pub(crate) fn part(link: &mut Link, within: Duration) {
    let deadline = Instant::now() + within;
    drain(link, within);
    while let Some(socket) = link.socket() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || wait(socket, PollFlags::IN, Some(left)).is_err() {
            return;
        }
        // Whatever the host still says comes too late.
        if link.fill().is_err() || link.skip().is_err() {
            return;
        }
    }
}

fn wait(
    fd: impl std::os::fd::AsFd,
    flags: PollFlags,
    within: Option<Duration>,
) -> Result<(), Errno> {
    let timeout = within.map(|within| Timespec {
        tv_sec: within.as_secs() as i64,
        tv_nsec: within.subsec_nanos().into(),
    });
    match poll(&mut [PollFd::new(&fd, flags)], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Errno::from_raw(error.raw_os_error())),
    }
}

fn failed(error: Errno) -> SetupError {
    let missing = match error {
        Errno::EAFNOSUPPORT => "the kernel has no vsock (CONFIG_VSOCKETS)",
        Errno::ENODEV => {
            "no vsock device, or no driver for it (CONFIG_VIRTIO_VSOCKETS and that of its bus, \
             CONFIG_VIRTIO_MMIO or CONFIG_VIRTIO_PCI)"
        }
        Errno::ECONNRESET | Errno::ECONNREFUSED => "nothing listens there",
        _ => "vsock",
    };
    SetupError::Connect { missing, error: io::Error::from(error) }
}
