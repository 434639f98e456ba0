//! A queue while its driver sets it up (virtio 1.2, 4.2.2 and 4.2.3.2).

use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory, Permissions};

use super::protocol as p;

/// What a driver wrote about a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueSetup {
    max_size: u16,
    /// The size that the driver wants, or none that a queue can have.
    size: Option<u16>,
    descriptors: u64,
    available: u64,
    used: u64,
    ready: bool,
}

/// A queue that is not where it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadQueue;

impl QueueSetup {
    /// A queue that is as long as it can be, and nowhere.
    pub(crate) fn new(max_size: u16) -> Self {
        let size = Some(max_size);
        Self { max_size, size, descriptors: 0, available: 0, used: 0, ready: false }
    }

    pub(crate) fn max_size(&self) -> u16 {
        self.max_size
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Writes one of its registers, unless it is ready (4.2.3.2).
    pub(crate) fn write(&mut self, register: u64, value: u32) {
        if self.ready {
            return;
        }
        match register {
            p::QUEUE_NUM => self.size = self.possible_size(value),
            p::QUEUE_DESC_LOW => set_low(&mut self.descriptors, value),
            p::QUEUE_DESC_HIGH => set_high(&mut self.descriptors, value),
            p::QUEUE_DRIVER_LOW => set_low(&mut self.available, value),
            p::QUEUE_DRIVER_HIGH => set_high(&mut self.available, value),
            p::QUEUE_DEVICE_LOW => set_low(&mut self.used, value),
            p::QUEUE_DEVICE_HIGH => set_high(&mut self.used, value),
            _ => {}
        }
    }

    /// A power of two, and not more than was offered (2.7).
    fn possible_size(&self, value: u32) -> Option<u16> {
        let size = u16::try_from(value).ok()?;
        (size.is_power_of_two() && size <= self.max_size).then_some(size)
    }

    /// The driver is done. A queue of no possible size does not become ready, and so says so
    /// to a driver that looks.
    pub(crate) fn make_ready(&mut self) {
        self.ready = self.size.is_some();
    }

    /// The driver wants its memory back.
    pub(crate) fn take_back(&mut self) {
        self.ready = false;
    }

    /// The device's side of it: not ready where the driver does not use it.
    pub(crate) fn device_side<M: GuestMemory>(
        &self,
        memory: &M,
        event_idx: EventIdx,
    ) -> Result<Queue, BadQueue> {
        let mut queue = Queue::new(self.max_size).map_err(|_| BadQueue)?;
        let Some(size) = self.size.filter(|_| self.ready) else { return Ok(queue) };
        if !self.is_in(memory, size) {
            return Err(BadQueue);
        }
        queue.try_set_size(size).map_err(|_| BadQueue)?;
        queue
            .try_set_desc_table_address(GuestAddress(self.descriptors))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(self.available)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(self.used)))
            .map_err(|_| BadQueue)?;
        queue.set_event_idx(event_idx == EventIdx::Used);
        queue.set_ready(true);
        Ok(queue)
    }

    /// Whether all three parts, each with its event index, are in guest memory (2.7).
    fn is_in<M: GuestMemory>(&self, memory: &M, size: u16) -> bool {
        let size = usize::from(size);
        [
            (self.descriptors, 16 * size, Permissions::Read),
            (self.available, 6 + 2 * size, Permissions::Read),
            (self.used, 6 + 8 * size, Permissions::Write),
        ]
        .into_iter()
        .all(|(at, len, access)| memory.check_range(GuestAddress(at), len, access))
    }
}

/// Whether driver and device agreed on event indices (2.7.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventIdx {
    /// They did.
    Used,
    /// They did not.
    Unused,
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0xffff_ffff | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & 0xffff_ffff | u64::from(value) << 32;
}
