//! What is to be known of a device to drive it.

use microagent_devices::testing::{DriverQueue, MmioDriver};
use microagent_devices::virtio::device::VirtioDevice;
use vm_memory::GuestMemoryMmap;

use crate::Input;

/// A device with its host.
pub trait Device: Sized {
    /// How many of its queues are used.
    const QUEUES: usize;

    /// Makes one as the input says.
    fn make(input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>);

    /// A request that makes some sense.
    fn request(&self, input: &mut Input<'_>) -> Request;

    /// What the host end of the device does.
    fn host(&mut self, input: &mut Input<'_>) {
        let _ = input;
    }

    /// That the device still works. It was just brought up with empty queues.
    ///
    /// # Panics
    /// If it does not.
    fn works(&mut self, driven: &mut Driven<'_, '_>);

    /// What holds at any time.
    ///
    /// # Panics
    /// If it does not.
    fn check(&self) {}
}

/// A device at work.
#[derive(Debug)]
pub struct Driven<'s, 'm> {
    /// Its driver.
    pub driver: &'s MmioDriver,
    /// The memory of the guest; from 32 KiB on it is free.
    pub memory: &'m GuestMemoryMmap,
    /// The queues, of eight descriptors each.
    pub queues: &'s mut [DriverQueue<'m>],
}

/// A request to a device.
#[derive(Debug)]
pub struct Request {
    /// The queue that it goes to.
    pub queue: usize,
    /// What the device reads.
    pub readable: Vec<u8>,
    /// How much it may write, in bytes.
    pub writable: u32,
}
