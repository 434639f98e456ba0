//! A virtio driver of a few instructions: queues stand in the file that the guest is loaded
//! from, so that its code only has to write registers, wait, and show what it got.

use crate::code::Guest;

/// Descriptors of each queue.
const SIZE: usize = 8;
/// From one queue to the next.
const STRIDE: u32 = 0x400;
/// From the descriptors of a queue to its rings.
const AVAILABLE: u32 = 0x100;
const USED: u32 = 0x200;

/// Version 1 of virtio, which every driver here accepts and nothing else.
const VERSION_1: u32 = 1 << 0;

/// A device as its driver sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    /// Its registers.
    base: u32,
    /// Its queues.
    queues: u32,
}

/// A buffer of a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Buffer {
    /// Address and length; the device reads it.
    Out(u32, u32),
    /// The device writes it.
    In(u32, u32),
}

/// The device in slot `slot`.
pub(crate) fn device(slot: u32) -> Device {
    Device { base: 0xd000_0000 + slot * 0x1000, queues: 0x12_0000 + slot * 0x2000 }
}

impl Device {
    fn queue(self, queue: u32) -> u32 {
        self.queues + queue * STRIDE
    }

    /// Where the `nth` used element of a queue says how much was written.
    pub(crate) fn used_len(self, queue: u32, nth: u32) -> u32 {
        self.queue(queue) + USED + 4 + nth * 8 + 4
    }
}

impl Guest {
    /// Chains that are made available in a queue, in their order.
    pub(crate) fn chains(self, device: Device, queue: u32, chains: &[&[Buffer]]) -> Self {
        let (mut table, mut heads, mut next) = (Vec::new(), Vec::new(), 0u16);
        for chain in chains {
            heads.push(next);
            for (place, buffer) in chain.iter().enumerate() {
                let more = place + 1 < chain.len();
                let (address, len, written) = match *buffer {
                    Buffer::Out(address, len) => (address, len, 0),
                    Buffer::In(address, len) => (address, len, 2),
                };
                next += 1;
                table.extend(u64::from(address).to_le_bytes());
                table.extend(len.to_le_bytes());
                table.extend((written | u16::from(more)).to_le_bytes());
                table.extend(next.to_le_bytes());
            }
        }
        assert!(usize::from(next) <= SIZE);
        // The index is written when the driver is there to notify.
        let ring: Vec<u8> = [0, 0].into_iter().chain(heads).flat_map(u16::to_le_bytes).collect();
        let at = device.queue(queue);
        self.data(at, table).data(at + AVAILABLE, ring)
    }

    /// Gets a device to work, with `queues` queues.
    pub(crate) fn start(self, device: Device, queues: u32) -> Self {
        let register = |offset| device.base + offset;
        let mut guest = self.write(register(0x70), 0).write(register(0x70), 3);
        guest = guest.write(register(0x24), 0).write(register(0x20), 0);
        guest = guest.write(register(0x24), 1).write(register(0x20), VERSION_1);
        guest = guest.write(register(0x70), 11);
        for queue in 0..queues {
            let at = device.queue(queue);
            guest = guest.write(register(0x30), queue).write(register(0x38), SIZE as u32);
            for (low, address) in [(0x80, at), (0x90, at + AVAILABLE), (0xa0, at + USED)] {
                guest = guest.write(register(low), address).write(register(low + 4), 0);
            }
            guest = guest.write(register(0x44), 1);
        }
        guest.write(register(0x70), 15)
    }

    /// Resets a device, forgets what became of its queues, and gets it to work anew.
    pub(crate) fn restart(self, device: Device, queues: u32) -> Self {
        let forgotten = (0..queues).fold(self.write(device.base + 0x70, 0), |guest, queue| {
            let at = device.queue(queue);
            guest.write(at + AVAILABLE, 0).write(at + USED, 0)
        });
        forgotten.start(device, queues)
    }

    /// Writes nonsense to every register of a device, and reads each, as it stands.
    pub(crate) fn abuse(self, device: Device) -> Self {
        (0..0x200).step_by(4).fold(self, |guest, offset| {
            let register = device.base + offset;
            let guest = guest.write(register, u32::MAX).copy(register, 0x11_f000);
            guest.write(register, 1).copy(register + 1, 0x11_f000)
        })
    }

    /// Makes the first `count` chains of a queue available, in all.
    pub(crate) fn offer(self, device: Device, queue: u32, count: u16) -> Self {
        // The flags are zero, and little-endian: the index is the upper half.
        self.write(device.queue(queue) + AVAILABLE, u32::from(count) << 16)
            .write(device.base + 0x50, queue)
    }

    /// Waits until so many chains of a queue were used, in all.
    pub(crate) fn wait_used(self, device: Device, queue: u32, count: u16) -> Self {
        self.wait_for(device.queue(queue) + USED + 2, count)
    }

    /// Both.
    pub(crate) fn do_chains(self, device: Device, queue: u32, count: u16) -> Self {
        self.offer(device, queue, count).wait_used(device, queue, count)
    }
}
