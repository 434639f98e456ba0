//! What a virtio device is, whatever carries it to its driver.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

/// A virtio device. It has no threads: whoever carries it calls it, one call at a time.
///
/// A device is inactive until [`VirtioDevice::activate`] and again after
/// [`VirtioDevice::reset`]; while it is inactive it touches no guest memory.
pub trait VirtioDevice: Send {
    /// What kind it is.
    fn device_type(&self) -> DeviceType;

    /// What it is called in statistics and logs, such as `block:root`.
    fn name(&self) -> String;

    /// The feature bits that it offers, those of its queues and `VIRTIO_F_VERSION_1` among
    /// them (virtio 1.2, 2.2 and 6).
    fn features(&self) -> u64;

    /// The longest that each of its queues can be: powers of two, at most 32768 (2.7).
    fn queue_sizes(&self) -> &'static [u16];

    /// Reads `data.len()` bytes of its configuration from `offset`. What lies past its end
    /// reads as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes to its configuration. Ignored by devices that have nothing to write to.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }

    /// Begins to work: the driver has set `DRIVER_OK` (2.1).
    ///
    /// # Errors
    /// Queues that this device cannot work with; it stays inactive.
    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError>;

    /// Forgets the driver and all that it wanted (2.4). The guest's memory is not touched
    /// after it. Fine in every state.
    fn reset(&mut self);

    /// Works on a queue that the driver says it has put buffers into. A number that is none of
    /// its queues, and an inactive device, are fine: nothing happens.
    ///
    /// # Errors
    /// The driver broke the device's rules so that it cannot go on until it is reset.
    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError>;

    /// The descriptors of the host that it wants to hear of, for as long as it exists. They
    /// are watched for input and output, edge-triggered: what is told once must be remembered
    /// or used up.
    fn host_events(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Something happened to a descriptor, by its place in [`VirtioDevice::host_events`]. Also
    /// called for an inactive device.
    ///
    /// # Errors
    /// As for [`VirtioDevice::queue_kicked`].
    fn host_ready(&mut self, event: usize) -> Result<(), DeviceError> {
        let _ = event;
        Ok(())
    }

    /// Whether it holds something of the guest's that the host has not taken yet, and that is
    /// lost with the device. [`VirtioDevice::host_ready`] gets on with it.
    fn owes_host(&self) -> bool {
        false
    }

    /// What it has counted.
    fn counters(&self) -> Counters;
}

/// What a device is given to work with.
pub struct Activation {
    /// The guest's memory; copies are cheap.
    pub memory: GuestMemoryMmap,
    /// One for each of [`VirtioDevice::queue_sizes`], as the driver set them up. One that the
    /// driver does not use is not ready.
    pub queues: Vec<Queue>,
    /// The feature bits that the driver accepted, all of them offered.
    pub features: u64,
    /// How the driver is told.
    pub interrupt: Arc<dyn Interrupt>,
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("queues", &self.queues)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// How a device tells its driver of something.
pub trait Interrupt: Send + Sync {
    /// Buffers of this queue were used. Whether the driver wants to know
    /// ([`virtio_queue::QueueT::needs_notification`]) is asked before.
    fn queue_used(&self, queue: usize);

    /// The configuration changed.
    fn config_changed(&self);
}

/// The kinds of devices that there are here, by their numbers (virtio 1.2, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DeviceType {
    /// Network (5.1).
    Net = 1,
    /// Block (5.2).
    Block = 2,
    /// Console (5.3).
    Console = 3,
    /// Entropy (5.4).
    Entropy = 4,
    /// Socket (5.10).
    Socket = 19,
}

/// The driver broke the rules: the device stops until it is reset, and says so by
/// `DEVICE_NEEDS_RESET` (2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A queue that the device needs is not ready.
    #[error("queue {queue} is not set up")]
    QueueMissing {
        /// Which.
        queue: usize,
    },
    /// A ring of the queue is not in guest memory, or says what cannot be.
    #[error("queue {queue} is broken")]
    BrokenQueue {
        /// Which.
        queue: usize,
    },
}

/// What every device counts since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Chains taken from the driver and given back.
    pub chains: u64,
    /// Bytes taken from the guest, those of headers not among them.
    pub bytes_from_guest: u64,
    /// Bytes given to the guest, those of headers not among them.
    pub bytes_to_guest: u64,
    /// Chains and requests that no driver in its senses makes.
    pub malformed: u64,
}
