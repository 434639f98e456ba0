//! The device's side of one virtqueue: chains taken, buffers given back, the driver told.

use std::fmt;
use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VRING_AVAIL_F_NO_INTERRUPT};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::device::{DeviceError, Interrupt};

/// A chain of the guest's memory.
pub(crate) type Chain<'m> = DescriptorChain<&'m GuestMemoryMmap>;

/// A queue of an active device.
///
/// When the driver is told is decided here rather than by [`QueueT::needs_notification`]: that
/// counts chains given back one by one, and knows no `VRING_AVAIL_F_NO_INTERRUPT`.
pub(crate) struct Ring {
    queue: Queue,
    index: usize,
    interrupt: Arc<dyn Interrupt>,
    /// How many chains were given back since the driver was last told, or did not want to be.
    untold: u16,
}

/// A chain that the device is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Its head.
    pub(crate) head: u16,
    /// How much was written to it, in bytes.
    pub(crate) len: u32,
}

impl Ring {
    /// Takes over queue `index` of a device whose driver accepted `features`.
    pub(crate) fn new(
        memory: &GuestMemoryMmap,
        (index, mut queue): (usize, Queue),
        features: u64,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self, DeviceError> {
        if !queue.ready() {
            return Err(DeviceError::QueueMissing { queue: index });
        }
        if !queue.is_valid(memory) {
            return Err(DeviceError::BrokenQueue { queue: index });
        }
        queue.set_event_idx(features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0);
        Ok(Self { queue, index, interrupt, untold: 0 })
    }

    /// That the driver, from now on, need not say what it makes available.
    pub(crate) fn quiet(&mut self, memory: &GuestMemoryMmap) -> Result<(), DeviceError> {
        self.queue.disable_notification(memory).map_err(|_| self.broken())
    }

    /// The next chain. None: there is none, and the driver says when there is.
    pub(crate) fn next<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Option<Chain<'m>>, DeviceError> {
        if let Some(chain) = self.pop(memory)? {
            return Ok(Some(chain));
        }
        if !self.queue.enable_notification(memory).map_err(|_| self.broken())? {
            return Ok(None);
        }
        // It came before the driver knew that it has to say so.
        self.quiet(memory)?;
        self.pop(memory)?.map(Some).ok_or_else(|| self.broken())
    }

    fn pop<'m>(&mut self, memory: &'m GuestMemoryMmap) -> Result<Option<Chain<'m>>, DeviceError> {
        let broken = self.broken();
        self.queue.iter(memory).map_err(|_| broken).map(|mut chains| chains.next())
    }

    /// Takes back that the last `count` chains were taken.
    pub(crate) fn put_back(&mut self, count: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// How many chains were taken, as the driver counts them.
    pub(crate) fn position(&self) -> u16 {
        self.queue.next_avail()
    }

    /// The most chains that there can be at once.
    pub(crate) fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Gives a chain back.
    pub(crate) fn give_back(
        &mut self,
        memory: &GuestMemoryMmap,
        Used { head, len }: Used,
    ) -> Result<(), DeviceError> {
        self.queue.add_used(memory, head, len).map_err(|_| self.broken())?;
        self.untold = self.untold.saturating_add(1);
        Ok(())
    }

    /// Gives chains back so that the driver sees all of them at once or none.
    pub(crate) fn give_back_together(
        &mut self,
        memory: &GuestMemoryMmap,
        all: &[Used],
    ) -> Result<(), DeviceError> {
        let Some((last, others)) = all.split_last() else { return Ok(()) };
        for used in others {
            self.prepare(memory, *used)?;
        }
        self.give_back(memory, *last)?;
        self.untold = self.untold.saturating_add(others.len() as u16);
        Ok(())
    }

    /// Writes the next element of the used ring (virtio 1.2, 2.7.8); only its index, which the
    /// next chain that is given back moves, makes it visible.
    fn prepare(&mut self, memory: &GuestMemoryMmap, used: Used) -> Result<(), DeviceError> {
        if used.head >= self.queue.size() {
            return Err(self.broken());
        }
        let next = self.queue.next_used();
        let slot = u64::from(next % self.queue.size());
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(used.head).to_le_bytes());
        element[4..].copy_from_slice(&used.len.to_le_bytes());
        let at = self.queue.used_ring().saturating_add(4 + slot * 8);
        memory.write_slice(&element, GuestAddress(at)).map_err(|_| self.broken())?;
        self.queue.set_next_used(next.wrapping_add(1));
        Ok(())
    }

    /// Tells the driver of what was given back, if it wants to know.
    pub(crate) fn tell(&mut self, memory: &GuestMemoryMmap) -> Result<(), DeviceError> {
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 && self.is_wanted(memory, untold)? {
            self.interrupt.queue_used(self.index);
        }
        Ok(())
    }

    /// Whether the driver wants to know of the last `count` chains (2.7.7.1 and 2.7.10).
    fn is_wanted(&self, memory: &GuestMemoryMmap, count: u16) -> Result<bool, DeviceError> {
        // The index of the used ring is seen before it is asked what the driver wants.
        fence(Ordering::SeqCst);
        let read = |offset: u64| -> Result<u16, DeviceError> {
            let at = GuestAddress(self.queue.avail_ring().saturating_add(offset));
            memory.load(at, Ordering::Relaxed).map(u16::from_le).map_err(|_| self.broken())
        };
        if !self.queue.event_idx_enabled() {
            return Ok(read(0)? & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0);
        }
        let event = Wrapping(read(4 + u64::from(self.queue.size()) * 2)?);
        Ok(Wrapping(self.queue.next_used()) - event - Wrapping(1) < Wrapping(count))
    }

    /// What is said of a driver that broke this queue.
    pub(crate) fn broken(&self) -> DeviceError {
        DeviceError::BrokenQueue { queue: self.index }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("queue", &self.queue)
            .field("index", &self.index)
            .field("untold", &self.untold)
            .finish_non_exhaustive()
    }
}
