//! The conversation with the agent of one machine.

use std::sync::Arc;
use std::time::Duration;

use microagent_guest_protocol::frame::MAX_DATA;
use microagent_guest_protocol::{ExecRequest, HostMessage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::SessionError;
use crate::exec::{Asked, Exec, ExecIo};
use crate::frames::{FrameReader, Incoming};
use crate::shared::{Outbox, Queues, Shared};

/// How long the agent's last frames are read after it has stopped taking ours.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A session with an agent that was welcomed. Dropping it closes the connection, on which
/// the agent of an attached machine ends that machine.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Session {
    /// Takes over a connection on which hello and welcome were exchanged.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (outbox, queues) = Outbox::new();
        let shared = Arc::new(Shared::new(outbox));
        let task = tokio::spawn(drive(stream, shared.clone(), queues));
        Self { shared, task }
    }

    /// Takes over a connection at whose other end a [`Relay`](crate::Relay) serves in the
    /// place of an agent.
    pub fn with_relay(stream: UnixStream) -> Self {
        Self::over(stream)
    }

    /// Waits until the guest's disks are mounted and commands can run.
    ///
    /// # Errors
    /// `SetupFailed` with the agent's words, `NotReady` after this time, or how else the
    /// session ended.
    pub async fn ready(&self, within: Duration) -> Result<(), SessionError> {
        let mut status = self.shared.status.subscribe();
        let decided = status.wait_for(|status| status.ready || status.ended.is_some());
        let decided = tokio::time::timeout(within, decided).await;
        let decided = decided.map_err(|_| SessionError::NotReady(within))?;
        let decided = decided.map_err(|_| SessionError::Lost)?.clone();
        match decided.ended {
            Some(error) if !decided.ready => Err(error),
            _ => Ok(()),
        }
    }

    /// The commands that an earlier session of this boot left, of a session that follows one.
    ///
    /// # Errors
    /// `NotReady` after this time, or how else the session ended.
    pub async fn left(&self, within: Duration) -> Result<Vec<u32>, SessionError> {
        let mut status = self.shared.status.subscribe();
        let told = status.wait_for(|status| status.left.is_some() || status.ended.is_some());
        let told = tokio::time::timeout(within, told).await;
        let told = told.map_err(|_| SessionError::NotReady(within))?;
        let told = told.map_err(|_| SessionError::Lost)?.clone();
        match (told.left, told.ended) {
            (Some(left), _) => Ok(left),
            (None, Some(error)) => Err(error),
            (None, None) => Err(SessionError::Lost),
        }
    }

    /// Takes up a command that is [`left`](Self::left): its outputs go on with what was kept
    /// of them, and its input where there is a source of it.
    pub fn resume(&self, id: u32, io: ExecIo) -> Exec {
        Exec::start(
            &self.shared,
            Asked { id, input: io.stdin.is_some(), message: HostMessage::Resume { id } },
            io,
        )
    }

    /// Gives up a command that is [`left`](Self::left).
    pub fn abandon(&self, id: u32) {
        // A number: it fits into a frame.
        let _ = self.shared.outbox.send(&HostMessage::Abandon { id });
    }

    /// Asks for a command. Its id must not have been used before in this machine. What
    /// prevents it is told by [`Exec::wait`].
    pub fn exec(&self, request: ExecRequest, io: ExecIo) -> Exec {
        let (id, input) = (request.id, request.stdin);
        let asked = Asked { id, input, message: HostMessage::Exec(request) };
        Exec::start(&self.shared, asked, io)
    }

    /// Asks for a file or a directory with all that is in it. What comes as standard output is
    /// [`microagent_guest_protocol::transfer`]'s; standard error says what went wrong.
    pub fn fetch(&self, id: u32, path: String, io: ExecIo) -> Exec {
        let asked = Asked { id, input: false, message: HostMessage::Fetch { id, path } };
        Exec::start(&self.shared, asked, io)
    }

    /// Has a file or a directory made in the guest of what comes as standard input, which is
    /// [`microagent_guest_protocol::transfer`]'s: at a path, or under a name in the directory
    /// that is there. Standard error says what went wrong.
    pub fn store(&self, id: u32, (path, name): (String, String), io: ExecIo) -> Exec {
        let asked = Asked { id, input: true, message: HostMessage::Store { id, path, name } };
        Exec::start(&self.shared, asked, io)
    }

    /// Asks the agent to end all commands, write back the disks and end the machine.
    pub fn shutdown(&self) {
        // One word: it fits into a frame.
        let _ = self.shared.outbox.send(&HostMessage::Shutdown);
    }

    /// Why the agent is ending the machine, if it said so.
    pub fn goodbye(&self) -> Option<String> {
        self.shared.status.borrow().goodbye.clone()
    }

    /// What could not be written back before the machine ended, each with its reason; none if
    /// the agent did not say that it was done with it. To be asked after the machine's end.
    pub async fn written_back(&self) -> Option<Vec<String>> {
        // What the guest had said may still be on its way here.
        let _ = tokio::time::timeout(LAST_WORDS, self.closed()).await;
        self.shared.status.borrow().written_back.clone()
    }

    /// Waits for the end of the session: `Goodbye` if the agent announced it, else what
    /// happened to the connection.
    pub async fn closed(&self) -> SessionError {
        let mut status = self.shared.status.subscribe();
        let ended = status.wait_for(|status| status.ended.is_some()).await;
        ended.ok().and_then(|status| status.ended.clone()).unwrap_or(SessionError::Lost)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.end(SessionError::Lost);
    }
}

async fn drive(stream: UnixStream, shared: Arc<Shared>, queues: Queues) {
    let (source, sink) = stream.into_split();
    let read = read(BufReader::with_capacity(MAX_DATA, source), &shared);
    tokio::pin!(read);
    let error = tokio::select! {
        error = &mut read => error,
        unwritable = write(sink, queues) => {
            // The guest's end is gone; what it had said before may still be here.
            tokio::time::timeout(LAST_WORDS, read).await.unwrap_or(unwritable)
        }
    };
    tracing::debug!(%error, "the session with the agent ended");
    shared.end(error);
}

async fn read(source: impl AsyncRead + Unpin, shared: &Shared) -> SessionError {
    let mut reader = FrameReader::new(source);
    loop {
        let taken = match reader.read().await {
            Ok(Incoming::Message(message)) => shared.take(message),
            Ok(Incoming::Output { id, stream }) => shared.output(id, stream, reader.payload()),
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

async fn write(mut sink: impl AsyncWrite + Unpin, mut queues: Queues) -> SessionError {
    loop {
        let frame = tokio::select! {
            // A command is asked for before its input is sent, and a signal does not wait
            // behind input.
            biased;
            frame = queues.control.recv() => frame,
            frame = queues.flow.recv() => frame,
        };
        let Some(frame) = frame else { return SessionError::Lost };
        if let Err(error) = sink.write_all(&frame).await {
            return error.into();
        }
    }
}
