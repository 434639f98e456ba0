//! Virtio devices (Virtual I/O Device specification, version 1.2).

mod again;
pub mod block;
mod buffers;
mod config_space;
pub mod console;
pub mod device;
pub mod mmio;
pub mod net;
mod ring;
pub mod rng;
mod vectored;
pub mod vsock;
