//! Messages between the host and the agent in the guest; no I/O.
//!
//! The agent reads an [`AgentConfig`] from its initramfs, connects out over vsock to
//! [`AgentConfig::port`] on the host and sends [`AgentMessage::Hello`] with the token. From
//! then on both sides exchange [frames](frame): control frames hold one JSON message, data
//! frames hold bytes of one stream of one command.
//!
//! The host opens and the agent answers:
//! ```text
//! agent                                   host
//!   Hello{version, token, session}  ───►    checks the token, refuses all others
//!                                   ◄───  Welcome
//!   (mounts the root, reports)      ───►  Ready
//!                                   ◄───  Exec{id, argv, ...}
//!   Started{id, pid}                ───►
//!   data(id, stdout) data(id, stderr) ──►
//!                                   ◄───  data(id, stdin), Credit{id, stream, bytes}
//!   Exited{id, status}              ───►
//!                                   ◄───  Shutdown
//! ```
//! A session that is lost may be followed by another, with the next number: see
//! [`OnDisconnect::Reconnect`]. Its agent says which commands are [`Left`](AgentMessage::Left), and
//! the host resumes or abandons each.
//!
//! Flow control: a side may have at most [`WINDOW`] bytes of one stream under way that the
//! other has not given back with `Credit`. So a slow reader of one stream holds up neither
//! the other streams nor the session, and nobody buffers more than that.

mod config;
pub mod ending;
pub mod frame;
pub mod initramfs;
mod message;
mod parse;
mod token;
pub mod transfer;

pub use config::{AgentConfig, Mount, NetworkConfig, OnDisconnect, PowerOff, RootDisk};
pub use message::{AgentMessage, ExecRequest, ExitStatus, HostMessage, Stream, TtySize, User};
pub use parse::MessageError;
pub use token::Token;

/// Version of configuration and messages. A host and an agent of different versions refuse
/// each other, each naming both numbers.
pub const VERSION: u16 = 1;

/// The vsock port on the host to which agents connect.
pub const AGENT_PORT: u32 = 1024;

/// Where the configuration stands in the initramfs.
pub const CONFIG_PATH: &str = "/microagent.json";

/// How many bytes of each output the agent keeps while there is no session; of more, the last.
pub const KEPT: usize = 256 << 10;

/// How many bytes of one stream may be under way before the receiver has given credit.
pub const WINDOW: u32 = 256 << 10;
