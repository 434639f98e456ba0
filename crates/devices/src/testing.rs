//! The driver side of a device, on heap memory: what a guest does, right or wrong.

mod activation;
mod bad_chain;
mod endure;
mod mmio_driver;
mod queue;

use vm_memory::{GuestAddress, GuestMemoryMmap};

pub use activation::{Recorder, activation};
pub use bad_chain::{BAD_CHAINS, BadChain};
pub use endure::endure;
pub use mmio_driver::MmioDriver;
pub use queue::{Buffer, Descriptor, DriverQueue};

/// Guest memory of `len` bytes at address 0.
///
/// # Panics
/// If there is no memory.
pub fn memory(len: usize) -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)]).expect("heap memory for a guest")
}
