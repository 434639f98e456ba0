//! The signals that end a session must not end what outlives it.
#![allow(unsafe_code)] // signal dispositions have no safe interface

use std::io;

/// What a terminal, a shell or a service manager sends to whole groups of processes.
const SESSION: [libc::c_int; 5] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP];

/// Leaves the session of whoever started this and ignores its signals.
pub(crate) fn ignore_what_ends_a_session() -> io::Result<()> {
    // Refused to the leader of a process group, which is out of a terminal's way already.
    let _ = rustix::process::setsid();
    for signal in SESSION {
        set(signal, libc::SIG_IGN)?;
    }
    // Inherited as ignored it would take the child's exit status away.
    set(libc::SIGCHLD, libc::SIG_DFL)?;
    ignore_longest_file()
}

/// Makes a file that can grow no further an error instead of the end.
pub(crate) fn ignore_longest_file() -> io::Result<()> {
    set(libc::SIGXFSZ, libc::SIG_IGN)
}

/// Has a fault end the process at once, as what it is. The standard library's handler looks for
/// a stack that overflowed, and for any other fault makes calls that no filter of a monitor's
/// thread allows.
pub(crate) fn end_by_faults() -> io::Result<()> {
    [libc::SIGSEGV, libc::SIGBUS].into_iter().try_for_each(|s| set(s, libc::SIG_DFL))
}

/// Gives a child the dispositions of a fresh program. Async-signal-safe.
pub(crate) fn reset() -> io::Result<()> {
    SESSION.into_iter().chain([libc::SIGXFSZ]).try_for_each(|s| set(s, libc::SIG_DFL))
}

fn set(signal: libc::c_int, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: the disposition is SIG_IGN or SIG_DFL, no code of ours runs in a handler.
    match unsafe { libc::signal(signal, disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
