//! Virtio devices (Virtual I/O Device specification, version 1.2).

mod buffers;
pub mod device;
pub mod vsock;
