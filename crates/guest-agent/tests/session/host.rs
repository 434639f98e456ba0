//! The host's end, as simple as can be.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus as AgentExit, Stdio};
use std::time::Duration;

use microagent_guest_protocol::frame::{HEADER_LEN, Header, Kind, MAX_DATA};
use microagent_guest_protocol::{AgentMessage, ExecRequest, ExitStatus, HostMessage, Stream, User};

/// A test that waits longer for a frame has failed.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    pub(crate) socket: UnixStream,
    agent: Child,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Message(AgentMessage),
    Data(u32, Stream, Vec<u8>),
}

/// All that came of a command.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) ended: Vec<Stream>,
    pub(crate) status: Option<ExitStatus>,
}

impl Host {
    pub(crate) fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_microagent-guest-agent"))
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut host = Self { socket, agent };
        assert_eq!(host.receive(), Frame::Message(AgentMessage::Ready));
        host
    }

    pub(crate) fn send(&mut self, message: HostMessage) {
        self.socket.write_all(&message.to_frame().unwrap()).unwrap();
    }

    pub(crate) fn input(&mut self, id: u32, bytes: &[u8]) {
        assert!(bytes.len() <= MAX_DATA);
        let kind = Kind::Data { stream: Stream::Stdin, id };
        self.socket.write_all(&Header { kind, len: bytes.len() }.encode()).unwrap();
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Frame {
        self.try_receive().expect("a frame")
    }

    /// None at the end of the session.
    pub(crate) fn try_receive(&mut self) -> Option<Frame> {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header).ok()?;
        let header = Header::decode(&header).unwrap();
        let mut payload = vec![0; header.len];
        self.socket.read_exact(&mut payload).unwrap();
        Some(match header.kind {
            Kind::Control => Frame::Message(AgentMessage::parse(&payload).unwrap()),
            Kind::Data { stream, id } => Frame::Data(id, stream, payload),
        })
    }

    pub(crate) fn exec(&mut self, request: ExecRequest) {
        self.send(HostMessage::Exec(request));
    }

    pub(crate) fn started(&mut self, id: u32) -> u32 {
        match self.receive() {
            Frame::Message(AgentMessage::Started { id: started, pid }) if started == id => pid,
            other => panic!("expected the start of {id}, got {other:?}"),
        }
    }

    /// Receives until the command has ended, giving credit for all that comes.
    pub(crate) fn finish(&mut self, id: u32) -> Output {
        self.finish_all(&[id]).remove(&id).unwrap()
    }

    pub(crate) fn finish_all(&mut self, ids: &[u32]) -> HashMap<u32, Output> {
        let mut outputs: HashMap<_, _> = ids.iter().map(|id| (*id, Output::default())).collect();
        while outputs.values().any(|output| output.status.is_none()) {
            match self.receive() {
                Frame::Data(id, stream, bytes) => {
                    let output = outputs.get_mut(&id).unwrap();
                    assert!(output.status.is_none() && !output.ended.contains(&stream));
                    match (stream, bytes.len() as u32) {
                        (_, 0) => output.ended.push(stream),
                        (Stream::Stderr, _) => output.stderr.extend(&bytes),
                        (_, _) => output.stdout.extend(&bytes),
                    }
                    if !bytes.is_empty() {
                        let bytes = bytes.len() as u32;
                        self.send(HostMessage::Credit { id, stream, bytes });
                    }
                }
                Frame::Message(AgentMessage::Exited { id, status }) => {
                    outputs.get_mut(&id).unwrap().status = Some(status);
                }
                Frame::Message(AgentMessage::Started { .. } | AgentMessage::Credit { .. }) => {}
                Frame::Message(other) => panic!("unexpected {other:?}"),
            }
        }
        outputs
    }

    /// Runs a command in a shell.
    pub(crate) fn shell(&mut self, id: u32, script: &str) -> Output {
        self.exec(shell(id, script));
        self.finish(id)
    }

    /// The last message, which nothing follows.
    pub(crate) fn hears_the_last(&mut self) {
        let last = AgentMessage::WrittenBack { failures: Vec::new() };
        assert_eq!(self.receive(), Frame::Message(last));
        self.socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(self.try_receive(), None);
    }

    /// Waits for the agent's own end.
    pub(crate) fn wait(mut self) -> AgentExit {
        self.agent.wait().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

pub(crate) fn request(id: u32, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        id,
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        env: Vec::new(),
        workdir: String::new(),
        user: User::default(),
        stdin: false,
        tty: None,
    }
}

pub(crate) fn shell(id: u32, script: &str) -> ExecRequest {
    request(id, &["/bin/sh", "-c", script])
}

pub(crate) fn code(code: u8) -> Option<ExitStatus> {
    Some(ExitStatus::Code { code })
}

pub(crate) fn signal(signal: i32) -> Option<ExitStatus> {
    Some(ExitStatus::Signal { signal })
}
