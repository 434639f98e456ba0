//! Setup commands and the command, with everything that can happen meanwhile.

use std::time::Duration;

use microagent_backend::Exit;
use microagent_guest_protocol::{ExecRequest, ExitStatus};
use microagent_vsock::{Exec, ExecIo, SessionError, Sink, Source};

use super::Flow;
use super::machine::{end_text, ended, last_lines};
use super::prepare::Prepared;
use crate::attend::{Attended, attend};
use crate::command::{ImageDefaults, exec_request, shell_argv, with_terminal};
use crate::interrupt::Interrupt;
use crate::outputs::one_line;
use crate::{Ending, RunError, RunIo};

/// How long a session may take to tell what it still knows when its machine has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What came of a command.
enum Outcome {
    Ended(ExitStatus),
    Interrupted(Interrupt),
    Left,
}

impl Flow<'_> {
    pub(super) async fn run_commands(
        &mut self,
        prepared: &Prepared,
        io: &mut RunIo,
    ) -> Result<Ending, RunError> {
        if let Some(ending) = self.run_setup(&prepared.defaults, io).await? {
            return Ok(ending);
        }
        io.progress.running();
        let around = self.request.surroundings();
        let hostname = self.request.guest_hostname();
        let stdin = io.stdin.take();
        let id = self.request.setup.len() as u32 + 1;
        let argv = prepared.argv.clone();
        let request =
            exec_request(id, argv, &prepared.defaults, &around, &hostname, stdin.is_some());
        let size = io.terminal.as_mut().map(|size| *size.borrow_and_update());
        if let Some(front) = &mut self.front {
            front.up(id, size.is_some())?;
        }
        self.note_start();
        let outcome = self.run_one(with_terminal(request, size), io, stdin).await;
        io.progress.ended();
        let signal = match &outcome {
            Ok(Outcome::Ended(ExitStatus::Signal { signal })) => Some(*signal),
            _ => None,
        };
        self.note_end(signal);
        self.phases.end("command");
        Ok(match outcome? {
            Outcome::Ended(status) => Ending::Command(status),
            Outcome::Interrupted(interrupt) => interrupted(interrupt),
            Outcome::Left => Ending::Left,
        })
    }

    /// Runs the setup commands in order; how it ended where one of them failed.
    pub(crate) async fn run_setup(
        &mut self,
        defaults: &ImageDefaults,
        io: &mut RunIo,
    ) -> Result<Option<Ending>, RunError> {
        let around = self.request.surroundings();
        let hostname = self.request.guest_hostname();
        let setup = &self.request.setup;
        for (index, line) in setup.iter().enumerate() {
            let number = index + 1;
            io.progress.setting_up(number, line);
            let argv = shell_argv(&self.request.shell, line);
            let request = exec_request(number as u32, argv, defaults, &around, &hostname, false);
            match self.run_one(request, io, None).await? {
                Outcome::Ended(ExitStatus::Code { code: 0 }) => {}
                Outcome::Ended(status) => {
                    return Ok(Some(Ending::Setup { number, line: line.clone(), status }));
                }
                Outcome::Interrupted(interrupt) => return Ok(Some(interrupted(interrupt))),
                Outcome::Left => return Ok(Some(Ending::Left)),
            }
        }
        if !setup.is_empty() {
            self.phases.end("setup");
        }
        Ok(None)
    }

    async fn run_one(
        &self,
        request: ExecRequest,
        io: &mut RunIo,
        stdin: Option<Source>,
    ) -> Result<Outcome, RunError> {
        let Some(session) = &self.session else { return Err(self.lost("there is no session")) };
        let streams =
            ExecIo { stdin, stdout: borrowed(&mut io.stdout), stderr: borrowed(&mut io.stderr) };
        let exec = session.exec(request, streams);
        let outcome = self.attend(&exec, io).await;
        let (stdout, stderr) = exec.into_sinks().await;
        io.stdout = stdout;
        io.stderr = stderr;
        outcome
    }

    /// Waits for the command's end, or for what ends the machine under it.
    async fn attend(&self, exec: &Exec, io: &mut RunIo) -> Result<Outcome, RunError> {
        let Some(machine) = &self.machine else { return Err(self.lost("there is no machine")) };
        loop {
            let attended = tokio::select! {
                biased;
                attended = attend(exec, io) => attended,
                exit = ended(machine.as_ref()) => {
                    let status = tokio::time::timeout(LAST_WORDS, exec.wait()).await;
                    let status = status.unwrap_or(Err(SessionError::Lost));
                    return self.status(status, Some(exit)).await;
                }
            };
            match attended {
                Attended::Ended(status) => return self.status(status, None).await,
                Attended::Interrupted(interrupt) => return Ok(Outcome::Interrupted(interrupt)),
                Attended::Left if self.front.is_some() => return Ok(Outcome::Left),
                Attended::Left => io.progress.note("machines of its supervisor cannot be left"),
            }
        }
    }

    /// A session that was lost says less than the end of the machine that caused it, and that
    /// less than the guest's own word. Which of them is seen first is chance.
    async fn status(
        &self,
        status: Result<ExitStatus, SessionError>,
        exit: Option<Exit>,
    ) -> Result<Outcome, RunError> {
        let goodbye = self.session.as_ref().and_then(|session| session.goodbye());
        let error = match status {
            // A guest that powers itself off ends its commands first; that end is not theirs.
            Ok(ExitStatus::Signal { .. }) if goodbye.is_some() => SessionError::Lost,
            Ok(status) => return Ok(Outcome::Ended(status)),
            Err(error) => error,
        };
        let exit = match (exit, &self.machine) {
            (None, Some(machine)) => machine.wait(LAST_WORDS).await.ok().flatten(),
            (exit, _) => exit,
        };
        let text = match (goodbye, exit) {
            (Some(reason), _) => format!("it powered itself off ({})", one_line(&reason)),
            (None, Some(exit)) => end_text(&exit),
            (None, None) => error.to_string(),
        };
        Err(self.lost(&text))
    }

    fn lost(&self, reason: &str) -> RunError {
        let console = self.machine.as_ref().map(|m| last_lines(m.console())).unwrap_or_default();
        RunError::Lost { reason: reason.to_owned(), console }
    }
}

fn interrupted(interrupt: Interrupt) -> Ending {
    match interrupt {
        Interrupt::Signal(signal) => Ending::Interrupted { signal },
        Interrupt::Timeout => Ending::TimedOut,
    }
}

/// Lends a sink to one command after the other.
fn borrowed(sink: &mut Sink) -> Sink {
    std::mem::replace(sink, Box::new(tokio::io::sink()))
}
