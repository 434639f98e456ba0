//! Fetching outputs from the guest once its command has ended.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_guest_protocol::ExitStatus;
use microagent_guest_protocol::transfer::MAX_PIECE;
use microagent_rootfs::{Extracted, ReadError};
use microagent_vsock::{ExecIo, SessionError};

use super::Flow;
use super::machine::ended;
use crate::error::chain;
use crate::outputs::{OutputRequest, Words, receive};
use crate::{Ending, RunError, RunIo};

/// How long a guest may send nothing.
const SILENCE: Duration = Duration::from_secs(120);

/// What ends a sender whose receiver is gone.
const SIGKILL: i32 = 9;

/// How a transfer ended on the guest's side.
type Sent = Result<ExitStatus, SessionError>;

impl Flow<'_> {
    /// Fetches all outputs; what cannot be had stands in the report.
    pub(super) async fn collect(
        &mut self,
        ending: &Ending,
        io: &mut RunIo,
    ) -> Result<(), RunError> {
        let request = self.request;
        let (Some(directory), Ending::Command(_)) = (&request.output_dir, ending) else {
            return Ok(());
        };
        // Setup commands and the command have the ids before.
        let first = request.setup.len() as u32 + 2;
        for (id, output) in (first..).zip(&request.outputs) {
            let place = directory.join(output.name.as_str());
            let fetched = self.fetch(id, output, &place, io).await?;
            self.report.outputs.push(output.report(place, fetched));
        }
        if !request.outputs.is_empty() {
            self.phases.end("outputs");
        }
        Ok(())
    }

    async fn fetch(
        &self,
        id: u32,
        output: &OutputRequest,
        place: &Path,
        io: &mut RunIo,
    ) -> Result<Result<Extracted, String>, RunError> {
        let (Some(session), Some(machine)) = (&self.session, &self.machine) else {
            return Ok(Err("there is no session with the guest".into()));
        };
        let (ours, theirs) = channel().map_err(|e| RunError::state("cannot receive".into(), e))?;
        let receiving = tokio::task::spawn_blocking({
            let place: PathBuf = place.to_owned();
            move || receive(BufReader::with_capacity(MAX_PIECE, ours), &place)
        });
        let words = Words::default();
        let streams = ExecIo { stdin: None, stdout: theirs, stderr: Box::new(words.clone()) };
        let exec = session.fetch(id, output.path.clone(), streams);
        let sent = tokio::select! {
            biased;
            interrupt = io.interrupts.next() => return Err(RunError::Interrupted(interrupt)),
            sent = exec.wait() => sent,
            _ = exec.broken() => {
                exec.signal(SIGKILL);
                Err(SessionError::Lost)
            }
            _ = ended(machine.as_ref()) => Err(SessionError::Lost),
        };
        drop(exec.into_sinks().await);
        let received = receiving.await.unwrap_or_else(|e| {
            Err(ReadError::Io { doing: "receiving it".into(), source: e.into() })
        });
        Ok(outcome(sent, received, &words))
    }
}

/// The end that a thread reads, and the one that the session writes to.
fn channel() -> std::io::Result<(UnixStream, microagent_vsock::Sink)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(SILENCE))?;
    theirs.set_nonblocking(true)?;
    Ok((ours, Box::new(tokio::net::UnixStream::from_std(theirs)?)))
}

/// Whoever failed first says why: a receiver that did has the sender killed, a sender that did
/// leaves the receiver with half of it.
fn outcome(
    sent: Sent,
    received: Result<Extracted, ReadError>,
    words: &Words,
) -> Result<Extracted, String> {
    match (sent, received) {
        (Ok(ExitStatus::Code { code: 0 }), Ok(done)) => Ok(done),
        (Ok(ExitStatus::NotStarted { message, .. }), _) => Err(message),
        (Ok(ExitStatus::Code { code }), _) if code != 0 => Err(words.text()),
        (_, Err(error)) => Err(chain(&error)),
        (Ok(status), Ok(_)) => Err(format!("its sender ended with {status:?}")),
        (Err(error), Ok(_)) => Err(error.to_string()),
    }
}
