//! Processes: a fork that stays this program, and signals by number.
#![allow(unsafe_code)] // fork, _exit, signal and kill have no safe form

use std::io;
use std::os::fd::RawFd;

use nix::libc;
use nix::unistd::ForkResult;
use rustix::process::Pid;

/// Which side of a [`fork`] this is.
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new one's id.
        child: Pid,
    },
}

/// Makes a copy of this process.
///
/// A copy and not a second start of this program as launcher: on a busy host, in an emulated
/// guest, such a start took 8 ms (33 ms as a position-independent program), the copy 5 ms.
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: the agent has one thread when commands are started, so no lock can be held by a thread that the child
    // does not have, and the child may do whatever this process may: allocate, open, exec.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Side::Child),
        ForkResult::Parent { child } => Pid::from_raw(child.as_raw())
            .map(|child| Side::Parent { child })
            .ok_or_else(|| io::Error::other("fork gave process 0")),
    }
}

/// Ends a [forked](fork) child without running what the parent registered for its own end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always safe to call; it does not return.
    unsafe { libc::_exit(code) }
}

/// Gives a signal back its default action: the standard library has SIGPIPE ignored, which
/// an exec would pass on.
pub(crate) fn default_pipe_signal() {
    // SAFETY: SIG_DFL is no handler, so nothing can be called asynchronously.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Marks all descriptors above the standard ones to close at the exec. The agent opens its
/// own that way; this is for what it was itself started with. Kernels before 5.11 cannot.
pub(crate) fn close_others_on_exec() {
    let (first, last) = (libc::STDERR_FILENO as u32 + 1, u32::MAX);
    // SAFETY: close_range takes three numbers and closes nothing at once with this flag.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Closes all descriptors above the standard ones but `kept`, for a [forked](fork) child that
/// never returns to whoever owns them. Kernels before 5.9 cannot; they stay open then.
pub(crate) fn close_all_but(kept: RawFd) {
    let first = libc::STDERR_FILENO as u32 + 1;
    let kept = kept.cast_unsigned();
    for (first, last) in [(first, kept.saturating_sub(1)), (kept + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: close_range takes three numbers; the owners of what it closes are in
            // frames of this process that are never returned to.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Sends the signal with this number to a process group. An unknown number is EINVAL.
pub(crate) fn signal_group(group: Pid, signal: i32) -> io::Result<()> {
    kill(-group.as_raw_nonzero().get(), signal)
}

/// Sends a signal to every process but this one. As process 1 only: elsewhere it would hit
/// the whole session of whoever started it.
pub(crate) fn signal_all(signal: i32) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    kill(-1, signal)
}

fn kill(target: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory of this process.
    match unsafe { libc::kill(target, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
