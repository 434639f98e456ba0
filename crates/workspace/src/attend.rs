//! A command in a guest, attended to until it has ended or somebody wants it no longer.

use std::time::Duration;

use microagent_guest_protocol::{ExitStatus, TtySize};
use microagent_vsock::{Exec, SessionError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::interrupt::Interrupt;
use crate::{Leave, RunIo};

/// How long a command that was sent a signal may go on.
pub(crate) const SIGNAL_GRACE: Duration = Duration::from_secs(10);

/// What a program gets whose terminal is closed.
const SIGHUP: i32 = 1;

/// What a program gets that writes where nobody reads any more.
const SIGPIPE: i32 = 13;

/// How it came to an end.
pub(crate) enum Attended {
    /// It ended, or its session did.
    Ended(Result<ExitStatus, SessionError>),
    /// It goes on and is to be ended: by the second signal, or the first where its grace is
    /// over, or by the time limit.
    Interrupted(Interrupt),
    /// It goes on and is left to itself.
    Left,
}

/// Waits for a command's end, passing on the first signal and the terminal's size.
pub(crate) async fn attend(exec: &Exec, io: &mut RunIo) -> Attended {
    let mut signalled: Option<(i32, Instant)> = None;
    loop {
        let grace = async {
            match signalled {
                Some((signal, until)) => {
                    tokio::time::sleep_until(until).await;
                    signal
                }
                None => std::future::pending().await,
            }
        };
        let signal = tokio::select! {
            biased;
            status = exec.wait() => return Attended::Ended(status),
            interrupt = io.interrupts.next() => match (interrupt, signalled) {
                // Noticed in more than one way.
                (Interrupt::Signal(SIGHUP), Some((SIGHUP, _))) => continue,
                (Interrupt::Signal(signal), None) => signal,
                (interrupt, _) => return Attended::Interrupted(interrupt),
            },
            size = changed(&mut io.terminal) => {
                exec.resize(size);
                continue;
            }
            () = left(&io.leave) => return Attended::Left,
            // As the kernel does to a program whose reader or terminal is gone.
            _ = exec.broken(), if signalled.is_none() => match io.terminal {
                Some(_) => SIGHUP,
                None => SIGPIPE,
            },
            signal = grace => return Attended::Interrupted(Interrupt::Signal(signal)),
        };
        exec.signal(signal);
        signalled = Some((signal, Instant::now() + SIGNAL_GRACE));
    }
}

/// Returns when the run is to be left; never for one that cannot be.
async fn left(leave: &Option<Leave>) {
    match leave {
        Some(leave) => leave.asked.notified().await,
        None => std::future::pending().await,
    }
}

/// The terminal's next size; never without a terminal.
pub(crate) async fn changed(terminal: &mut Option<watch::Receiver<TtySize>>) -> TtySize {
    if let Some(size) = terminal
        && size.changed().await.is_ok()
    {
        return *size.borrow_and_update();
    }
    std::future::pending().await
}
