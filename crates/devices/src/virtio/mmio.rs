//! The memory-mapped transport (virtio 1.2, 4.2), version 2: how a driver reaches a device.
//!
//! The registers belong to vCPU threads, the queues to the thread that devices run on; both
//! come here. Shared memory, queue resets and the legacy interface are deliberately absent.

pub mod protocol;
mod queue_setup;
mod registers;
mod signal;
#[cfg(test)]
mod tests;
mod transport;

pub use transport::MmioTransport;
