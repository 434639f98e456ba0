//! A command in a workspace that is up, beside whatever else runs there.

use std::time::Duration;

use microagent_guest_protocol::ExitStatus;
use microagent_vsock::{Exec, ExecIo, SessionError};
use tokio::time::Instant;

use super::client::{Attached, ExecWish};
use crate::interrupt::Interrupt;
use crate::run::{SIGHUP, SIGPIPE, changed, now};
use crate::{CommandResult, Ending, RunError, RunIo};

/// How long a command that was sent a signal may go on before it is left alone.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);

/// How long a relay may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What ends a command whatever it is doing.
const SIGKILL: i32 = 9;

/// What came of a command.
#[derive(Debug)]
pub struct Executed {
    /// How it ended.
    pub ending: Ending,
    /// The same with its times.
    pub result: CommandResult,
}

impl Attached {
    /// Runs a command. The first signal goes to it; the second, or the end of its grace, leaves
    /// it: it is then told that its terminal was closed. The time limit kills it.
    ///
    /// # Errors
    /// `Lost` where the machine ends before it.
    pub async fn exec(&self, wish: ExecWish, io: &mut RunIo) -> Result<Executed, RunError> {
        let lost = |error: SessionError| RunError::Lost {
            reason: crate::error::chain(&error),
            console: Vec::new(),
        };
        self.session().ready(READY_WITHIN).await.map_err(lost)?;
        let streams = ExecIo {
            stdin: io.stdin.take(),
            stdout: std::mem::replace(&mut io.stdout, Box::new(tokio::io::sink())),
            stderr: std::mem::replace(&mut io.stderr, Box::new(tokio::io::sink())),
        };
        let tty = io.terminal.as_mut().map(|size| *size.borrow_and_update());
        let request = self.request(ExecWish { stdin: streams.stdin.is_some(), tty, ..wish });
        io.progress.running();
        let started_at = now();
        let exec = self.session().exec(request, streams);
        let attended = attend(&exec, io).await;
        io.progress.ended();
        let ending = attended.map_err(lost)?;
        let signal = match &ending {
            Ending::Command(ExitStatus::Signal { signal }) => Some(*signal),
            _ => None,
        };
        let exit_code = ending.exit_code();
        let result = CommandResult { started_at, exited_at: now(), exit_code, signal };
        Ok(Executed { ending, result })
    }
}

async fn attend(exec: &Exec, io: &mut RunIo) -> Result<Ending, SessionError> {
    let mut signalled: Option<(i32, Instant)> = None;
    loop {
        let grace = async {
            match signalled {
                Some((_, until)) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            status = exec.wait() => return status.map(Ending::Command),
            interrupt = io.interrupts.next() => match (interrupt, signalled) {
                // Noticed in more than one way.
                (Interrupt::Signal(SIGHUP), Some((SIGHUP, _))) => {}
                (Interrupt::Signal(signal), None) => {
                    exec.signal(signal);
                    signalled = Some((signal, Instant::now() + SIGNAL_GRACE));
                }
                (Interrupt::Signal(signal), Some(_)) => {
                    return Ok(Ending::Interrupted { signal });
                }
                (Interrupt::Timeout, _) => {
                    exec.signal(SIGKILL);
                    // Its end is not waited for longer than a signal's grace.
                    let _ = tokio::time::timeout(SIGNAL_GRACE, exec.wait()).await;
                    return Ok(Ending::TimedOut);
                }
            },
            size = changed(&mut io.terminal) => exec.resize(size),
            _ = exec.broken(), if signalled.is_none() => {
                // As the kernel does to a program whose reader or terminal is gone.
                let signal = if io.terminal.is_some() { SIGHUP } else { SIGPIPE };
                exec.signal(signal);
                signalled = Some((signal, Instant::now() + SIGNAL_GRACE));
            }
            () = grace => {
                let signal = signalled.map_or(0, |(signal, _)| signal);
                return Ok(Ending::Interrupted { signal });
            }
        }
    }
}
