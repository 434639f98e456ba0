//! One command of a client.

use std::sync::{Arc, Weak};

use microagent_guest_protocol::frame::MAX_DATA;
use microagent_guest_protocol::{AgentMessage, Stream, TtySize, WINDOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::SessionError;
use crate::exec::{Exec, ExecIo};
use crate::frames::frame_of;

/// Bytes between the session and a client's frames, for each stream.
const BUFFER: usize = 16 << 10;

/// Credit is given back in pieces of at least this, not for every few bytes.
const CREDIT: usize = WINDOW as usize / 4;

/// What a program gets whose terminal is closed.
const SIGHUP: i32 = 1;

/// What is known of a command where its client's frames are read.
pub(super) struct Relayed {
    exec: Weak<Exec>,
    stdout: Arc<Semaphore>,
    stderr: Arc<Semaphore>,
    /// Input that the client may send.
    input: Arc<Semaphore>,
    chunks: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

/// The command itself, on a task of its own.
pub(super) struct Command {
    id: u32,
    exec: Arc<Exec>,
    frames: mpsc::Sender<Vec<u8>>,
    outputs: Vec<JoinHandle<()>>,
}

impl Command {
    /// Starts what `start` asks the session for, whose streams go to and come from a client as
    /// those of `id`.
    pub(super) fn start(
        id: u32,
        frames: mpsc::Sender<Vec<u8>>,
        start: impl FnOnce(ExecIo) -> Exec,
    ) -> (Self, Relayed) {
        let (stdout, stderr) = (credit(), credit());
        let (out_sink, out_source) = duplex(BUFFER);
        let (err_sink, err_source) = duplex(BUFFER);
        let (in_sink, in_source) = duplex(BUFFER);
        let pump = |stream, source, credit: &Arc<Semaphore>| {
            tokio::spawn(output(id, stream, source, credit.clone(), frames.clone()))
        };
        let outputs = vec![
            pump(Stream::Stdout, out_source, &stdout),
            pump(Stream::Stderr, err_source, &stderr),
        ];
        let input_credit = credit();
        let (chunks, queue) = mpsc::unbounded_channel();
        tokio::spawn(input(id, queue, in_sink, input_credit.clone(), frames.clone()));
        let io = ExecIo {
            stdin: Some(Box::new(in_source)),
            stdout: Box::new(out_sink),
            stderr: Box::new(err_sink),
        };
        let exec = Arc::new(start(io));
        let relayed = Relayed {
            exec: Arc::downgrade(&exec),
            stdout,
            stderr,
            input: input_credit,
            chunks: Some(chunks),
        };
        (Self { id, exec, frames, outputs }, relayed)
    }

    /// Tells the client when it begins and how it ended, after the last byte of its output.
    pub(super) async fn run(self) -> u32 {
        let Self { id, exec, frames, outputs } = self;
        let say = async |message: AgentMessage| {
            if let Ok(frame) = message.to_frame() {
                // A client that is gone is told nothing.
                let _ = frames.send(frame).await;
            }
        };
        if let Ok(Some(pid)) = exec.started().await {
            say(AgentMessage::Started { id, pid }).await;
        }
        let status = exec.wait().await;
        // Its sinks go with it, and with them the ends of what the client is sent.
        drop(exec);
        for output in outputs {
            let _ = output.await;
        }
        // How a session ended is told once for all.
        if let Ok(status) = status {
            say(AgentMessage::Exited { id, status }).await;
        }
        id
    }
}

impl Relayed {
    /// Takes standard input from the client; without bytes, its end.
    pub(super) fn input(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if bytes.is_empty() {
            self.chunks = None;
            return Ok(());
        }
        let wrong = |text: &str| SessionError::Protocol(text.to_owned());
        let Some(chunks) = &self.chunks else { return Err(wrong("input after its end")) };
        let credit = u32::try_from(bytes.len()).ok();
        let credit = credit.and_then(|bytes| self.input.try_acquire_many(bytes).ok());
        credit.ok_or_else(|| wrong("more input than it had credit for"))?.forget();
        // The command may want no more.
        let _ = chunks.send(bytes.to_owned());
        Ok(())
    }

    /// The client has taken output.
    pub(super) fn credit(&self, stream: Stream, bytes: u32) -> Result<(), SessionError> {
        let wrong = |text: &str| Err(SessionError::Protocol(text.to_owned()));
        let output = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
            Stream::Stdin => return wrong("credit for an input"),
        };
        if output.available_permits() + bytes as usize > WINDOW as usize {
            return wrong("more credit than it was sent bytes");
        }
        output.add_permits(bytes as usize);
        Ok(())
    }

    pub(super) fn signal(&self, signal: i32) {
        if let Some(exec) = self.exec.upgrade() {
            exec.signal(signal);
        }
    }

    pub(super) fn resize(&self, size: TtySize) {
        if let Some(exec) = self.exec.upgrade() {
            exec.resize(size);
        }
    }

    /// The client is gone. What the command still writes is thrown away.
    pub(super) fn hang_up(&self) {
        self.signal(SIGHUP);
        self.stdout.close();
        self.stderr.close();
    }
}

fn credit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WINDOW as usize))
}

/// Sends an output as the client gives credit for it, and then its end.
async fn output(
    id: u32,
    stream: Stream,
    mut source: DuplexStream,
    credit: Arc<Semaphore>,
    frames: mpsc::Sender<Vec<u8>>,
) {
    let mut buffer = vec![0; BUFFER.min(MAX_DATA)];
    loop {
        let read = source.read(&mut buffer).await.unwrap_or(0);
        // Closed when the client is gone; with the source goes what the command writes to.
        let Ok(allowed) = credit.acquire_many(read as u32).await else { return };
        allowed.forget();
        let frame = frame_of(id, stream, buffer.get(..read).unwrap_or_default());
        if frames.send(frame).await.is_err() || read == 0 {
            return;
        }
    }
}

/// Moves input to the session, and gives the client credit for what that has taken.
async fn input(
    id: u32,
    mut chunks: mpsc::UnboundedReceiver<Vec<u8>>,
    mut sink: DuplexStream,
    credit: Arc<Semaphore>,
    frames: mpsc::Sender<Vec<u8>>,
) {
    let mut owed = 0;
    // At most a window of them, by the credit that was taken.
    while let Some(chunk) = chunks.recv().await {
        // The command may want no more: what comes is then thrown away.
        let _ = sink.write_all(&chunk).await;
        owed += chunk.len();
        if owed < CREDIT {
            continue;
        }
        let message = AgentMessage::Credit { id, stream: Stream::Stdin, bytes: owed as u32 };
        credit.add_permits(owed);
        owed = 0;
        let Ok(frame) = message.to_frame() else { return };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}
