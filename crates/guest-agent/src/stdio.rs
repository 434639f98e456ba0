//! A command's standard streams: the agent's ends and the command's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use microagent_guest_protocol::TtySize;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The agent's ends, non-blocking.
#[derive(Debug)]
pub(crate) struct AgentEnds {
    /// Absent if the command reads nothing.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    /// Absent with a terminal.
    pub(crate) stderr: Option<OwnedFd>,
    /// The terminal, to change its size.
    pub(crate) terminal: Option<OwnedFd>,
}

/// The command's ends, ordinary blocking ones.
#[derive(Debug)]
pub(crate) struct CommandEnds {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) is_terminal: bool,
}

/// Pipes, and `/dev/null` for a command that reads nothing.
pub(crate) fn pipes(stdin: bool) -> io::Result<(AgentEnds, CommandEnds)> {
    let (out, their_out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, their_err) = pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(&out)?;
    set_nonblocking(&err)?;
    let (ours, theirs) = if stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        set_nonblocking(&ours)?;
        (Some(ours), theirs)
    } else {
        (None, File::open("/dev/null")?.into())
    };
    let agent = AgentEnds { stdin: ours, stdout: out, stderr: Some(err), terminal: None };
    let is_terminal = false;
    let command = CommandEnds { stdin: theirs, stdout: their_out, stderr: their_err, is_terminal };
    Ok((agent, command))
}

/// A terminal of this size, which carries both outputs.
pub(crate) fn terminal(stdin: bool, size: TtySize) -> io::Result<(AgentEnds, CommandEnds)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    resize(&ours, size)?;
    set_nonblocking(&ours)?;
    let agent = AgentEnds {
        stdin: if stdin { Some(ours.try_clone()?) } else { None },
        terminal: Some(ours.try_clone()?),
        stdout: ours,
        stderr: None,
    };
    let command = CommandEnds {
        stdin: theirs.try_clone()?,
        stdout: theirs.try_clone()?,
        stderr: theirs,
        is_terminal: true,
    };
    Ok((agent, command))
}

/// Tells the programs on a terminal its new size.
pub(crate) fn resize(terminal: impl AsFd, size: TtySize) -> io::Result<()> {
    let TtySize { rows, cols } = size;
    Ok(tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Makes this end non-blocking; the other end of a pipe is a description of its own.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}
