//! The driver side of a virtqueue.

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

/// One descriptor, as it stands in the table (virtio 1.2, section 2.7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the buffer is.
    pub address: u64,
    /// How long it is, in bytes.
    pub len: u32,
    /// `VIRTQ_DESC_F_*`.
    pub flags: u16,
    /// The next descriptor, if the flags say that there is one.
    pub next: u16,
}

impl Descriptor {
    /// It as it stands in a table.
    pub fn to_bytes(self) -> [u8; 16] {
        let Self { address, len, flags, next } = self;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        bytes
    }
}

/// A buffer of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// The device reads it: address and length.
    Readable(u64, u32),
    /// The device writes it: address and length.
    Writable(u64, u32),
}

/// The driver's side of a split virtqueue.
#[derive(Debug)]
pub struct DriverQueue<'m> {
    memory: &'m GuestMemoryMmap,
    table: GuestAddress,
    available: GuestAddress,
    used: GuestAddress,
    size: u16,
    next_descriptor: u16,
    next_available: u16,
    next_used: u16,
}

impl<'m> DriverQueue<'m> {
    /// How much memory a queue of `size` descriptors takes, in bytes, with some to spare.
    pub fn footprint(size: u16) -> u64 {
        u64::from(size) * 32 + 0x100
    }

    /// A queue of `size` descriptors at `base`, which is aligned to 16.
    pub fn new(memory: &'m GuestMemoryMmap, base: u64, size: u16) -> Self {
        let table = GuestAddress(base);
        let available = table.unchecked_add(u64::from(size) * 16);
        let used = available.unchecked_add((4 + u64::from(size) * 2 + 2).next_multiple_of(16));
        let (next_descriptor, next_available, next_used) = (0, 0, 0);
        Self { memory, table, available, used, size, next_descriptor, next_available, next_used }
    }

    /// Empties it, as a driver does that starts anew.
    pub fn renew(&mut self) {
        let len = Self::footprint(self.size) as usize;
        self.write(self.table, &vec![0; len]);
        *self = Self::new(self.memory, self.table.0, self.size);
    }

    /// How many descriptors it has.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where it is: descriptor table, available ring, used ring.
    pub fn addresses(&self) -> [u64; 3] {
        [self.table, self.available, self.used].map(|address| address.0)
    }

    /// The device's side of the same queue, ready.
    ///
    /// # Panics
    /// If the size or the place of the queue is not one that a queue can have.
    pub fn device_side(&self) -> Queue {
        let set_up = || {
            let mut queue = Queue::new(self.size)?;
            queue.try_set_desc_table_address(self.table)?;
            queue.try_set_avail_ring_address(self.available)?;
            queue.try_set_used_ring_address(self.used)?;
            queue.set_ready(true);
            Ok::<_, virtio_queue::Error>(queue)
        };
        set_up().expect("the queue of a test can be set up")
    }

    /// Makes a chain available and gives its head.
    pub fn offer(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.next_descriptor;
        for (at, buffer) in buffers.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % self.size;
            let more = if at + 1 < buffers.len() { VRING_DESC_F_NEXT as u16 } else { 0 };
            let (address, len, flags) = match *buffer {
                Buffer::Readable(address, len) => (address, len, more),
                Buffer::Writable(address, len) => (address, len, more | VRING_DESC_F_WRITE as u16),
            };
            let next = self.next_descriptor;
            self.put(index, Descriptor { address, len, flags, next });
        }
        self.publish(head);
        head
    }

    /// Writes a descriptor, whatever it says.
    pub fn put(&self, index: u16, descriptor: Descriptor) {
        self.write(self.table.unchecked_add(u64::from(index) * 16), &descriptor.to_bytes());
    }

    /// Makes the chain at `head` available, whatever it is.
    pub fn publish(&mut self, head: u16) {
        let slot = u64::from(self.next_available % self.size);
        self.write(self.available.unchecked_add(4 + slot * 2), &head.to_le_bytes());
        self.set_available(self.next_available.wrapping_add(1));
    }

    /// Says how many chains were made available in all, modulo 2^16, whether they were or not.
    pub fn set_available(&mut self, index: u16) {
        self.next_available = index;
        let _ =
            self.memory.store(index.to_le(), self.available.unchecked_add(2), Ordering::Release);
    }

    /// The next chain that the device is done with: its head, and how much was written.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        let index: u16 =
            self.memory.load(self.used.unchecked_add(2), Ordering::Acquire).unwrap_or_default();
        if u16::from_le(index) == self.next_used {
            return None;
        }
        let slot = u64::from(self.next_used % self.size);
        self.next_used = self.next_used.wrapping_add(1);
        // Where event indices are used: that the next one is worth a notification.
        let event = self.available.unchecked_add(4 + u64::from(self.size) * 2);
        let _ = self.memory.store(self.next_used.to_le(), event, Ordering::Release);
        let at = self.used.unchecked_add(4 + slot * 8);
        let head: u32 = self.memory.read_obj(at).unwrap_or_default();
        let len: u32 = self.memory.read_obj(at.unchecked_add(4)).unwrap_or_default();
        Some((u32::from_le(head) as u16, u32::from_le(len)))
    }

    fn write(&self, at: GuestAddress, bytes: &[u8]) {
        // A test that puts a queue outside its memory finds it empty.
        let _ = self.memory.write_slice(bytes, at);
    }
}
