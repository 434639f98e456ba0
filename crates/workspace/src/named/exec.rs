//! A command in a workspace that is up, beside whatever else runs there.

use std::time::Duration;

use microagent_guest_protocol::ExitStatus;
use microagent_vsock::{Exec, ExecIo, SessionError};

use super::client::{Attached, ExecWish};
use crate::attend::{Attended, SIGNAL_GRACE, attend};
use crate::interrupt::Interrupt;
use crate::run::now;
use crate::{CommandResult, Ending, RunError, RunIo};

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
        let attended = until_ended(&exec, io).await;
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

/// Waits for its end; what ends it otherwise is for it alone.
async fn until_ended(exec: &Exec, io: &mut RunIo) -> Result<Ending, SessionError> {
    match attend(exec, io).await {
        Attended::Ended(status) => status.map(Ending::Command),
        Attended::Interrupted(Interrupt::Signal(signal)) => Ok(Ending::Interrupted { signal }),
        Attended::Left => Ok(Ending::Left),
        Attended::Interrupted(Interrupt::Timeout) => {
            exec.signal(SIGKILL);
            // Its end is not waited for longer than a signal's grace.
            let _ = tokio::time::timeout(SIGNAL_GRACE, exec.wait()).await;
            Ok(Ending::TimedOut)
        }
    }
}
