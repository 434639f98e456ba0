//! Virtio devices (Virtual I/O Device specification, version 1.2).

mod again;
pub mod block;
mod buffers;
mod config_space;
pub mod device;
pub mod mmio;
mod ring;
mod vectored;
pub mod vsock;
