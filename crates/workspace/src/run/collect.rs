//! Fetching outputs from the guest once its command has ended.

use std::io::{BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_backend::{Exit, Machine};
use microagent_guest_protocol::ExitStatus;
use microagent_guest_protocol::transfer::MAX_PIECE;
use microagent_rootfs::{Extracted, ReadError};
use microagent_vsock::{ExecIo, Session, SessionError};
use tokio::task::{JoinError, JoinHandle};

use super::Flow;
use super::machine::{end_text, ended};
use crate::error::chain;
use crate::outputs::{OutputRequest, Words, one_line, receive};
use crate::{Ending, Interrupts, RunError, RunIo};

/// How long a guest may send nothing.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a sender may go on whose receiver has all, or wants no more.
const PARTING: Duration = Duration::from_secs(30);

/// What ends a sender whose receiver is gone.
const SIGKILL: i32 = 9;

/// How long a machine whose session was lost may take to be seen to have ended.
const END: Duration = Duration::from_secs(2);

/// How a transfer ended on the guest's side.
#[derive(Debug)]
enum Sent {
    /// What sends it has ended.
    Ended(ExitStatus),
    /// The receiver wants no more, and what sends it was killed.
    Refused,
    /// The session or the machine was lost; in words.
    Lost(String),
}

/// What came of it on the host's.
type Received = Result<Extracted, ReadError>;

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
        let wanted = Wanted { id, path: &output.path, place, umask: self.request.umask };
        fetch(session, Some(machine.as_ref()), &wanted, &mut io.interrupts).await
    }
}

/// What is fetched, and where to.
pub(crate) struct Wanted<'a> {
    pub(crate) id: u32,
    pub(crate) path: &'a str,
    pub(crate) place: &'a Path,
    pub(crate) umask: u32,
}

/// Fetches a file or a directory; why it cannot be had, where that is the guest's doing. The
/// machine, where it is ours, says more about its end than a session that was lost.
pub(crate) async fn fetch(
    session: &Session,
    machine: Option<&dyn Machine>,
    wanted: &Wanted<'_>,
    interrupts: &mut Interrupts,
) -> Result<Result<Extracted, String>, RunError> {
    let channel = channel(SILENCE);
    let (ours, theirs) = channel.map_err(|e| RunError::state("cannot receive".into(), e))?;
    let mut receiving = Receiving::start(ours, wanted.place.to_owned(), wanted.umask);
    let words = Words::default();
    let streams = ExecIo { stdin: None, stdout: theirs, stderr: words.sink() };
    let exec = session.fetch(wanted.id, wanted.path.to_owned(), streams);
    let kill = || exec.signal(SIGKILL);
    let gone = async {
        match machine {
            Some(machine) => ended(machine).await,
            None => std::future::pending().await,
        }
    };
    let sending = async {
        tokio::select! {
            biased;
            sent = exec.wait() => match sent {
                Ok(status) => Sent::Ended(status),
                Err(error) => Sent::Lost(lost(machine, &error).await),
            },
            _ = exec.broken() => {
                kill();
                Sent::Refused
            }
            exit = gone => Sent::Lost(end_of_guest(&exit)),
        }
    };
    let sent = tokio::select! {
        biased;
        interrupt = interrupts.next() => Err(RunError::Interrupted(interrupt)),
        sent = both(sending, &mut receiving, kill) => Ok(sent),
    };
    // With its sink gone the receiver comes to an end, and takes with it what is half made.
    drop(exec.into_sinks().await);
    let received = receiving.end().await;
    sent.map(|sent| outcome(sent, received, &words))
}

/// A thread that makes files of what comes.
struct Receiving {
    task: JoinHandle<Received>,
    done: Option<Received>,
}

impl Receiving {
    fn start(source: UnixStream, place: PathBuf, umask: u32) -> Self {
        let source = BufReader::with_capacity(MAX_PIECE, source);
        let make = move || receive(source, &place, umask);
        Self { task: tokio::task::spawn_blocking(make), done: None }
    }

    /// Waits until it has made all, or failed. Cancelling it loses nothing.
    async fn settled(&mut self) -> &Received {
        if self.done.is_none() {
            self.done = Some((&mut self.task).await.unwrap_or_else(joined));
        }
        self.done.get_or_insert_with(|| Err(ReadError::Corrupt("nothing came".into())))
    }

    async fn end(mut self) -> Received {
        match self.done.take() {
            Some(done) => done,
            None => self.task.await.unwrap_or_else(joined),
        }
    }
}

fn joined(error: JoinError) -> Received {
    Err(ReadError::Io { doing: "receiving it".into(), source: error.into() })
}

/// Waits for the sender. Once the receiver needs nothing more, that has not long to end, and
/// `kill` is called if it might not know.
async fn both(
    sending: impl Future<Output = Sent>,
    receiving: &mut Receiving,
    kill: impl Fn(),
) -> Sent {
    tokio::pin!(sending);
    tokio::select! {
        biased;
        sent = &mut sending => return sent,
        received = receiving.settled() => {
            if received.as_ref().is_err_and(|error| !cut_short(error)) {
                kill();
            }
        }
    }
    tokio::time::timeout(PARTING, sending).await.unwrap_or(Sent::Refused)
}

/// Whether it was the sender who stopped, and is about to say why.
fn cut_short(error: &ReadError) -> bool {
    matches!(error, ReadError::Io { source, .. } if source.kind() == ErrorKind::UnexpectedEof)
}

/// The end that a thread reads, and the one that the session writes to.
fn channel(silence: Duration) -> std::io::Result<(UnixStream, microagent_vsock::Sink)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(silence))?;
    theirs.set_nonblocking(true)?;
    Ok((ours, Box::new(tokio::net::UnixStream::from_std(theirs)?)))
}

/// What became of a session: the end of its machine, if that is it.
async fn lost(machine: Option<&dyn Machine>, error: &SessionError) -> String {
    let exit = match machine {
        Some(machine) => machine.wait(END).await.ok().flatten(),
        None => None,
    };
    exit.map_or_else(|| one_line(&chain(error)), |exit| end_of_guest(&exit))
}

fn end_of_guest(exit: &Exit) -> String {
    format!("the guest ended meanwhile: {}", end_text(exit))
}

/// Whoever failed first says why: a receiver that did has the sender killed, a sender that did
/// leaves the receiver with half of it. What was received to its end is there, however the
/// sender ended after that.
fn outcome(sent: Sent, received: Received, words: &Words) -> Result<Extracted, String> {
    let error = match received {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    Err(match sent {
        Sent::Ended(ExitStatus::NotStarted { message, .. }) => one_line(&message),
        Sent::Ended(ExitStatus::Code { code }) if code != 0 => words.text(),
        Sent::Ended(ExitStatus::Signal { signal }) if cut_short(&error) => {
            format!("signal {signal} ended what sends it")
        }
        Sent::Lost(why) if cut_short(&error) => why,
        Sent::Ended(_) | Sent::Refused | Sent::Lost(_) => chain(&error),
    })
}

#[cfg(test)]
mod tests;
