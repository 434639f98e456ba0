//! What a session's tasks and its users share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use microagent_guest_protocol::frame::MAX_DATA;
use microagent_guest_protocol::{AgentMessage, ExitStatus, HostMessage, Stream, WINDOW};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::SessionError;
use crate::output::Output;

/// Frames of input and credit on their way to the guest; whoever makes more waits.
const QUEUE: usize = (WINDOW as usize / MAX_DATA) * 4;

/// A session as seen from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) ready: bool,
    /// Commands of an earlier session, where there was one.
    pub(crate) left: Option<Vec<u32>>,
    pub(crate) goodbye: Option<String>,
    /// What could not be written back, once that was told.
    pub(crate) written_back: Option<Vec<String>>,
    pub(crate) ended: Option<SessionError>,
}

/// A command as seen from outside.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    Starting,
    Started(u32),
    Exited(ExitStatus),
    Lost(SessionError),
}

/// What the session knows of a command.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) stdout: Arc<Output>,
    pub(crate) stderr: Arc<Output>,
    /// Bytes of standard input that may be sent.
    pub(crate) input: Semaphore,
}

/// Where frames for the guest go.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    /// What the user of the session asks for, at once and without waiting.
    pub(crate) control: mpsc::UnboundedSender<Vec<u8>>,
    /// What follows from data of either side. Bounded, since a guest could make us produce
    /// more than it takes.
    pub(crate) flow: mpsc::Sender<Vec<u8>>,
}

/// The other end of an [`Outbox`].
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) control: mpsc::UnboundedReceiver<Vec<u8>>,
    pub(crate) flow: mpsc::Receiver<Vec<u8>>,
}

/// The state of a session.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) outbox: Outbox,
    running: Mutex<HashMap<u32, Arc<Running>>>,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self {
            progress: watch::Sender::new(Progress::Starting),
            stdout: Arc::default(),
            stderr: Arc::default(),
            input: Semaphore::new(WINDOW as usize),
        }
    }

    /// Nothing more will come; tasks finish what is there.
    pub(crate) fn end(&self, progress: Progress) {
        self.progress.send_replace(progress);
        self.stdout.end();
        self.stderr.end();
        self.input.close();
    }
}

impl Outbox {
    pub(crate) fn new() -> (Self, Queues) {
        let (control, control_end) = mpsc::unbounded_channel();
        let (flow, flow_end) = mpsc::channel(QUEUE);
        (Self { control, flow }, Queues { control: control_end, flow: flow_end })
    }

    /// Queues a message; of a session that ended, it goes nowhere.
    pub(crate) fn send(&self, message: &HostMessage) -> Result<(), SessionError> {
        let frame = message.to_frame().map_err(|error| SessionError::Request(error.to_string()))?;
        let _ = self.control.send(frame);
        Ok(())
    }
}

impl Shared {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self { status: watch::Sender::new(Status::default()), outbox, running: Mutex::default() }
    }

    /// Registers a command before it is asked for.
    pub(crate) fn add(&self, id: u32, running: &Arc<Running>) -> Result<(), SessionError> {
        let mut table = self.running();
        if let Some(error) = self.status.borrow().ended.clone() {
            return Err(error);
        }
        if table.contains_key(&id) {
            return Err(SessionError::Request(format!("the command's id {id} is in use")));
        }
        table.insert(id, running.clone());
        Ok(())
    }

    /// The session ended: everyone who waits is told.
    pub(crate) fn end(&self, error: SessionError) {
        let mut table = self.running();
        self.status.send_if_modified(|status| {
            let goodbye = status.goodbye.clone().map(SessionError::Goodbye);
            let first = status.ended.is_none();
            status.ended.get_or_insert(goodbye.unwrap_or(error));
            first
        });
        let ended = self.status.borrow().ended.clone().unwrap_or(SessionError::Lost);
        for (_, running) in table.drain() {
            running.end(Progress::Lost(ended.clone()));
        }
    }

    /// Takes a message of the agent.
    pub(crate) fn take(&self, message: AgentMessage) -> Result<(), SessionError> {
        let wrong = |text: &str| Err(SessionError::Protocol(text.to_owned()));
        match message {
            AgentMessage::Hello { .. } => wrong("a second hello"),
            AgentMessage::Ready if self.status.borrow().ready => wrong("ready twice"),
            AgentMessage::Ready => {
                self.status.send_modify(|status| status.ready = true);
                Ok(())
            }
            AgentMessage::Left { .. } if self.status.borrow().left.is_some() => {
                wrong("what is left told twice")
            }
            AgentMessage::Left { commands } => {
                self.status.send_modify(|status| status.left = Some(commands));
                Ok(())
            }
            AgentMessage::SetupFailed { message } => Err(SessionError::SetupFailed(message)),
            AgentMessage::Goodbye { reason } => {
                self.status.send_modify(|status| status.goodbye = Some(reason));
                Ok(())
            }
            AgentMessage::WrittenBack { failures } => {
                let goodbye = self.status.borrow().goodbye.clone();
                let Some(goodbye) = goodbye else { return wrong("written back before goodbye") };
                self.status.send_modify(|status| status.written_back = Some(failures));
                // The agent waits for the end of the connection.
                Err(SessionError::Goodbye(goodbye))
            }
            AgentMessage::Started { id, pid } => {
                let running = self.of(id)?;
                let starting = matches!(*running.progress.borrow(), Progress::Starting);
                if !starting {
                    return wrong("a command started twice");
                }
                running.progress.send_replace(Progress::Started(pid));
                Ok(())
            }
            AgentMessage::Exited { id, status } => {
                self.of(id)?.end(Progress::Exited(status));
                self.running().remove(&id);
                Ok(())
            }
            AgentMessage::Credit { id, stream: Stream::Stdin, bytes } => {
                let running = self.of(id)?;
                let bytes = bytes as usize;
                if running.input.available_permits() + bytes > WINDOW as usize {
                    return wrong("more credit than it was sent bytes");
                }
                running.input.add_permits(bytes);
                Ok(())
            }
            AgentMessage::Credit { .. } => wrong("credit for an output"),
        }
    }

    /// Takes output of a command; without bytes, its end.
    pub(crate) fn output(&self, id: u32, stream: Stream, bytes: &[u8]) -> Result<(), SessionError> {
        let running = self.of(id)?;
        let output = if stream == Stream::Stderr { &running.stderr } else { &running.stdout };
        if bytes.is_empty() {
            output.end();
            return Ok(());
        }
        output.push(bytes)
    }

    fn of(&self, id: u32) -> Result<Arc<Running>, SessionError> {
        let running = self.running().get(&id).cloned();
        running.ok_or_else(|| SessionError::Protocol(format!("a command {id} that does not run")))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u32, Arc<Running>>> {
        // No code panics while it holds the lock; if some did, the table would still be whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
