//! Serves other programs of the host that take part in a session with an agent.
//!
//! A client speaks as to the agent: it asks for commands under ids of its own, sends input and
//! gives credit. Each of its commands is one of the session's, under an id that nobody else
//! has. A stream that a client does not take holds up that stream in the guest and nothing
//! else; of what is under way no more than [`WINDOW`] bytes per stream are kept here.

mod command;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use microagent_guest_protocol::{AgentMessage, ExecRequest, ExitStatus, HostMessage};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::frames::{FrameReader, FromHost};
use crate::{Session, SessionError};
use command::{Command, Relayed};

/// Commands of one client at the same time; more are refused.
const MAX_COMMANDS: usize = 256;

/// Frames on their way to a client; whoever makes more waits.
const QUEUE: usize = 16;

/// Of so many bytes no more are put together before they are written.
const FULL: usize = 64 << 10;

/// How long a client may take to read why it is no longer served.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of a client's frames is read at once, in bytes.
const READ: usize = 16 << 10;

/// Lets other programs take part in one session.
#[derive(Debug, Clone)]
pub struct Relay {
    session: Arc<Session>,
    next: Arc<AtomicU32>,
}

impl Relay {
    /// For a session whose ids below `first` are used by others.
    pub fn new(session: Arc<Session>, first: u32) -> Self {
        Self { session, next: Arc::new(AtomicU32::new(first)) }
    }

    /// An id in the session that nobody else has.
    pub fn next_id(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Serves one client until it closes its connection, which its commands learn by SIGHUP,
    /// or until the session ends.
    ///
    /// # Errors
    /// What the client did against the protocol, or how the session ended.
    pub async fn serve(&self, stream: UnixStream) -> Result<(), SessionError> {
        let (source, sink) = stream.into_split();
        let (frames, queue) = mpsc::channel(QUEUE);
        let mut client =
            Client { relay: self, frames, commands: HashMap::new(), running: JoinSet::new() };
        client.say(&AgentMessage::Ready).await?;
        let writer = tokio::spawn(write(sink, queue));
        let mut reader = FrameReader::new(BufReader::with_capacity(READ, source));
        let served = client.attend(&mut reader).await;
        client.hang_up();
        drop(client);
        match served {
            Err(SessionError::Lost) => {
                writer.abort();
                Ok(())
            }
            other => {
                // The client is told why.
                let _ = tokio::time::timeout(LAST_WORDS, writer).await;
                other
            }
        }
    }
}

/// A client that is being served.
struct Client<'a> {
    relay: &'a Relay,
    frames: mpsc::Sender<Vec<u8>>,
    commands: HashMap<u32, Relayed>,
    running: JoinSet<u32>,
}

impl Client<'_> {
    async fn attend(
        &mut self,
        reader: &mut FrameReader<BufReader<tokio::net::unix::OwnedReadHalf>>,
    ) -> Result<(), SessionError> {
        loop {
            let frame = {
                // What was begun of a frame is lost with the future, so it is kept.
                let frame = reader.read_from_host();
                tokio::pin!(frame);
                loop {
                    tokio::select! {
                        biased;
                        Some(ended) = self.running.join_next() => {
                            self.commands.remove(&ended.unwrap_or_default());
                        }
                        frame = &mut frame => break frame?,
                        ended = self.relay.session.closed() => {
                            return Err(self.goodbye(ended).await);
                        }
                    }
                }
            };
            match frame {
                FromHost::Message(message) => self.take(message).await?,
                FromHost::Input { id } => {
                    // Input may be on its way when a command ends.
                    if let Some(command) = self.commands.get_mut(&id) {
                        command.input(reader.payload())?;
                    }
                }
            }
        }
    }

    async fn take(&mut self, message: HostMessage) -> Result<(), SessionError> {
        let wrong = |text: &str| Err(SessionError::Protocol(text.to_owned()));
        match message {
            HostMessage::Exec(request) => self.start(request.id, Wanted::Exec(request)).await,
            HostMessage::Fetch { id, path } => self.start(id, Wanted::Fetch(path)).await,
            HostMessage::Store { id, path, name } => {
                self.start(id, Wanted::Store(path, name)).await
            }
            HostMessage::Credit { id, stream, bytes } => match self.commands.get(&id) {
                Some(command) => command.credit(stream, bytes),
                None => Ok(()),
            },
            HostMessage::Signal { id, signal } => {
                if let Some(command) = self.commands.get(&id) {
                    command.signal(signal);
                }
                Ok(())
            }
            HostMessage::Resize { id, size } => {
                if let Some(command) = self.commands.get(&id) {
                    command.resize(size);
                }
                Ok(())
            }
            HostMessage::Resume { .. } | HostMessage::Abandon { .. } => {
                wrong("nothing of a relay's client is left to be taken up")
            }
            HostMessage::Shutdown => wrong("a client of a relay cannot end the machine"),
            HostMessage::Welcome | HostMessage::Refused { .. } => wrong("an answer to no hello"),
        }
    }

    async fn start(&mut self, id: u32, wanted: Wanted) -> Result<(), SessionError> {
        if self.commands.contains_key(&id) {
            return Err(SessionError::Protocol(format!("the command's id {id} is in use")));
        }
        if self.commands.len() >= MAX_COMMANDS {
            let message = format!("{MAX_COMMANDS} commands are running, more are not started");
            let status = ExitStatus::NotStarted { code: 126, message };
            return self.say(&AgentMessage::Exited { id, status }).await;
        }
        let guest = self.relay.next_id();
        let session = &self.relay.session;
        let start = |io| match wanted {
            Wanted::Exec(request) => session.exec(ExecRequest { id: guest, ..request }, io),
            Wanted::Fetch(path) => session.fetch(guest, path, io),
            Wanted::Store(path, name) => session.store(guest, (path, name), io),
        };
        let (command, relayed) = Command::start(id, self.frames.clone(), start);
        self.commands.insert(id, relayed);
        self.running.spawn(command.run());
        Ok(())
    }

    async fn say(&self, message: &AgentMessage) -> Result<(), SessionError> {
        let frame = message.to_frame().map_err(|error| SessionError::Request(error.to_string()))?;
        self.frames.send(frame).await.map_err(|_| SessionError::Lost)
    }

    async fn goodbye(&self, ended: SessionError) -> SessionError {
        let reason = match &ended {
            SessionError::Goodbye(reason) => reason.clone(),
            other => other.to_string(),
        };
        // Whoever has gone already needs to be told nothing.
        let _ = self.say(&AgentMessage::Goodbye { reason }).await;
        ended
    }

    /// The client is gone: its commands learn it, and nobody takes what they write.
    fn hang_up(&mut self) {
        for command in self.commands.values() {
            command.hang_up();
        }
        self.running.detach_all();
    }
}

/// What a client asked for.
enum Wanted {
    Exec(ExecRequest),
    Fetch(String),
    Store(String, String),
}

/// Writes frames, all that there are at once: who ends a command says so several times in a row,
/// and each write would wake the client.
async fn write(mut sink: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut frames) = queue.recv().await {
        // Whoever else has one to send does so first.
        tokio::task::yield_now().await;
        while frames.len() < FULL
            && let Ok(frame) = queue.try_recv()
        {
            frames.extend_from_slice(&frame);
        }
        if sink.write_all(&frames).await.is_err() {
            return;
        }
    }
}
