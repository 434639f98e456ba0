//! What goes wrong between host and guest.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use microagent_guest_protocol::VERSION;
use microagent_guest_protocol::frame::FrameError;

/// Why a session did not come about, or how it ended. It can be cloned: everyone who waits
/// for something of a session that ended is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The guest was too slow, or its agent could not connect.
    #[error("no agent connected within {} s", .0.as_secs_f32())]
    NoAgent(Duration),
    /// A connection without a hello.
    #[error("the agent connected and did not say hello within {} s", .0.as_secs_f32())]
    NoHello(Duration),
    /// The listening socket failed.
    #[error("accept the agent's connection")]
    Accept(#[source] Arc<io::Error>),
    /// Agent and host are of different builds.
    #[error(
        "the agent speaks version {agent} and this program version {VERSION}: \
         the guest was started with the agent of another build"
    )]
    Version {
        /// The agent's version.
        agent: u64,
    },
    /// Whoever connected first was not the agent of this machine.
    #[error("what connected first did not present this machine's token")]
    WrongToken,
    /// The agent could not set up the guest, in its words.
    #[error("{0}")]
    SetupFailed(String),
    /// The agent connected and then took too long.
    #[error("the guest was not ready for commands within {} s", .0.as_secs_f32())]
    NotReady(Duration),
    /// The agent ended the machine: asked to, or for a signal of the guest's programs.
    #[error("the guest ended: {0}")]
    Goodbye(String),
    /// The connection ended without a word: the machine is gone.
    #[error("the connection to the agent ended")]
    Lost,
    /// The connection failed.
    #[error("the connection to the agent failed")]
    Io(#[source] Arc<io::Error>),
    /// A frame that must not be.
    #[error("the agent broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// A message that must not be.
    #[error("the agent broke the protocol: {0}")]
    Protocol(String),
    /// A request of ours that no session can carry, such as a command of a megabyte.
    #[error("the request cannot be sent: {0}")]
    Request(String),
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Lost,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

/// Why a connection into a guest did not come about.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The machine's socket is not there, or nobody listens.
    #[error("connect to the machine's vsock socket")]
    Connect(#[source] io::Error),
    /// The connection ended before the answer: nothing in the guest listens at the port.
    #[error("nothing in the guest listens at vsock port {port}")]
    Refused {
        /// The port.
        port: u32,
    },
    /// The answer was not `OK <number>`.
    #[error("the machine's vsock socket answered '{0}'")]
    Answer(String),
    /// No answer came.
    #[error("no answer from vsock port {port} within {} s", .within.as_secs_f32())]
    Timeout {
        /// The port.
        port: u32,
        /// How long was waited.
        within: Duration,
    },
}
