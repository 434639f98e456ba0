//! The vsock device in its hybrid form: the host side of every connection is a Unix socket.
//!
//! What the guest opens to the host (context id 2), port `p`, arrives at the Unix socket
//! `<socket>_<p>`; a host program that connects to `<socket>` itself and writes
//! `CONNECT <port>\n` reaches a listener of the guest and reads `OK <number>\n` first.
//!
//! Only stream connections exist here. Packets are parsed by `packet` rather than by
//! rust-vmm's `virtio-vsock`, which takes one piece of memory for the data of a packet: a
//! driver that sends a program's pages without copying them uses several.

mod config;
mod connection;
mod credit;
mod device;
mod hybrid;
mod metrics;
mod packet;
mod protocol;
mod queues;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod virtio;

pub use config::{Config, ConfigSpace};
pub use device::{Vsock, VsockError};
pub use hybrid::{ConnectRequest, parse_connect};
pub use metrics::Metrics;
pub use packet::{Header, Kind};
pub use protocol::{HEADER_LEN, HOST_CID, QUEUE_RX, QUEUE_TX};
pub use queues::{Queues, Turn, Used};
pub use virtio::VirtioVsock;
