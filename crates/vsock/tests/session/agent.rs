//! The agent that follows a script, and sinks that do what a test wants.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind, MAX_DATA};
use microagent_guest_protocol::{
    AgentMessage, ExecRequest, ExitStatus, HostMessage, Stream, Token, User, VERSION,
};
use microagent_vsock::{AgentListener, ExecIo, Session, Sink};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// Long enough for a machine that is busy; nothing waits for it to pass.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn token() -> Token {
    Token::new([7; 16])
}

pub(crate) struct FakeAgent(pub(crate) UnixStream);

impl FakeAgent {
    pub(crate) async fn send(&mut self, message: AgentMessage) {
        self.0.write_all(&message.to_frame().unwrap()).await.unwrap();
    }

    pub(crate) async fn data(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_DATA) {
            let header = Header { kind: Kind::Data { stream, id }, len: chunk.len() };
            self.0.write_all(&header.encode()).await.unwrap();
            self.0.write_all(chunk).await.unwrap();
        }
    }

    pub(crate) async fn end(&mut self, id: u32, stream: Stream) {
        let header = Header { kind: Kind::Data { stream, id }, len: 0 };
        self.0.write_all(&header.encode()).await.unwrap();
    }

    pub(crate) async fn exited(&mut self, id: u32, code: u8) {
        self.send(AgentMessage::Exited { id, status: ExitStatus::Code { code } }).await;
    }

    pub(crate) async fn receive(&mut self) -> (Kind, Vec<u8>) {
        let mut header = [0; HEADER_LEN];
        self.0.read_exact(&mut header).await.unwrap();
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.len];
        self.0.read_exact(&mut payload).await.unwrap();
        (header.kind, payload)
    }

    pub(crate) async fn message(&mut self) -> HostMessage {
        let (kind, payload) = self.receive().await;
        assert_eq!(kind, Kind::Control);
        HostMessage::parse(&payload).unwrap()
    }
}

/// A listener, and a place for its socket.
pub(crate) fn listener() -> (AgentListener, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vsock_1024");
    (AgentListener::bind(&path, token()).unwrap(), path, folder)
}

/// A session that is ready.
pub(crate) async fn session() -> (Session, FakeAgent) {
    let (listener, path, _folder) = listener();
    let agent = async {
        let mut agent = FakeAgent(UnixStream::connect(&path).await.unwrap());
        let hello = AgentMessage::Hello { version: VERSION, token: token(), session: 0 };
        agent.send(hello).await;
        assert_eq!(agent.message().await, HostMessage::Welcome);
        agent.send(AgentMessage::Ready).await;
        agent
    };
    let (session, agent) = tokio::join!(listener.accept(LONG), agent);
    let session = session.unwrap();
    session.ready(LONG).await.unwrap();
    (session, agent)
}

pub(crate) fn request(id: u32, stdin: bool) -> ExecRequest {
    ExecRequest {
        id,
        argv: vec!["program".to_owned()],
        env: Vec::new(),
        workdir: String::new(),
        user: User::default(),
        stdin,
        tty: None,
    }
}

pub(crate) fn io(stdout: &TestSink, stderr: &TestSink) -> ExecIo {
    ExecIo { stdin: None, stdout: stdout.sink(), stderr: stderr.sink() }
}

/// A sink that can be looked into, held up and broken.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestSink(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    mode: Mode,
    waiting: Option<Waker>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Mode {
    #[default]
    Takes,
    Stalls,
    Breaks,
}

impl TestSink {
    pub(crate) fn new(mode: Mode) -> Self {
        let sink = Self::default();
        sink.set(mode);
        sink
    }

    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.0.lock().unwrap();
        state.mode = mode;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(crate) fn sink(&self) -> Sink {
        Box::new(self.clone())
    }
}

impl AsyncWrite for TestSink {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        match state.mode {
            Mode::Breaks => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Mode::Stalls => {
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            Mode::Takes => {
                state.bytes.extend_from_slice(buf);
                Poll::Ready(Ok(buf.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
