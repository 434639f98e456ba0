//! The host's end of vsock.
//!
//! The host side of every machine's vsock is a *hybrid* Unix socket: what the guest opens to
//! port p arrives at `<socket>_<p>`, where [`AgentListener`] waits for the agent; what the
//! host opens goes to `<socket>` and names its port first, as [`VsockStream`] does.
//!
//! A [`Session`] is the framed, multiplexed conversation with the agent. It runs commands
//! ([`Exec`]) and passes their streams through with flow control: a sink that does not take
//! its bytes holds up that stream of that command and nothing else, and no more than
//! [`WINDOW`](microagent_guest_protocol::WINDOW) bytes of it are kept. What the guest sends
//! is untrusted: what breaks the protocol ends the session with an error.
//!
//! Other programs take part in a session through a [`Relay`], which serves each of them as the
//! agent would.
//!
//! A [`Mediation`] is a channel from a port of the guest to one TCP target of the host.
//!
//! Not here: port forwards.

mod error;
mod exec;
mod frames;
mod input;
mod listener;
mod mediation;
mod output;
mod relay;
mod session;
mod shared;
mod socket;
mod stream;
mod taker;

pub use error::{SessionError, VsockError};
pub use exec::{BrokenSink, Exec, ExecIo, Sink, Source};
pub use listener::AgentListener;
pub use mediation::{Channel, InvalidTarget, Mediation, MediationStatus, Need, Target};
pub use relay::Relay;
pub use session::Session;
pub use socket::{bind, connect};
pub use stream::VsockStream;
pub use taker::sink_to;
