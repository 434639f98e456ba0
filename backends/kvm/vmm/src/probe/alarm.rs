//! An end to waiting for a guest: a signal that interrupts whatever this process waits for.
#![allow(unsafe_code)] // signal actions and interval timers have no safe interface

use std::io;
use std::ptr;
use std::time::Duration;

/// How soon it comes again: one that arrives just before the guest is entered is lost.
const AGAIN: Duration = Duration::from_millis(20);

/// Interrupts this process after `time`, and again and again from then on.
pub(super) fn interrupt_after(time: Duration) -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all zero is a valid action: no flags, so that calls are not restarted, and an
    // empty mask. The handler does nothing.
    let made = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        libc::sigaction(libc::SIGALRM, &action, ptr::null_mut())
    };
    check(made)?;
    vmm_sys_util::signal::unblock_signal(libc::SIGALRM)
        .map_err(|e| io::Error::other(e.to_string()))?;
    let timer = libc::itimerval { it_value: timeval(time), it_interval: timeval(AGAIN) };
    // SAFETY: the timer is read and nothing is written.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) })
}

fn timeval(time: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_usec: time.subsec_micros().into(),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
