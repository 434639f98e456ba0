//! The network device: Ethernet frames between a guest and one descriptor of the host.
//!
//! The host end is a stream socket with a program like passt behind it, or a tap device. No
//! checksums or segments are left to the other side: neither end could take them over, and
//! the stream carries frames of 64 KiB as they are, where the guest knows that it may send
//! them ([`Config::mtu`]) and its buffers can be merged for them (`VIRTIO_NET_F_MRG_RXBUF`).
//! Not here either: several pairs of queues, the control queue, and filters by address.

mod config;
mod device;
mod frames;
mod host;
mod metrics;
mod protocol;
mod receive;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;

pub use config::{Config, HostEnd};
pub use device::{Net, NetError};
pub use frames::{FrameTooLong, Frames};
pub use metrics::Metrics;
pub use protocol::{HEADER_LEN, MAX_FRAME, MIN_FRAME, QUEUE_RX, QUEUE_TX};
