//! A guest and its disk: a device on heap memory, with a file.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, LazyLock};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::testing::{Buffer, DriverQueue, Recorder, activation, memory};
use crate::virtio::block::{Block, Config};
use crate::virtio::device::VirtioDevice;

pub(super) const OK: u8 = 0;
pub(super) const IOERR: u8 = 1;
pub(super) const UNSUPP: u8 = 2;

/// Sectors of the disk: those of 1 MiB.
pub(super) const SECTORS: u64 = 2048;
/// Where the memory of requests is.
pub(super) const HEADER: u64 = 0x1_0000;
pub(super) const STATUS: u64 = 0x1_1000;
pub(super) const DATA: u64 = 0x2_0000;
const MEMORY: usize = 0x40_0000;
pub(super) const SIZE: u16 = 256;
const QUEUE: u64 = 0x1000;
/// What a status byte is before the device writes it.
pub(super) const UNTOUCHED: u8 = 0xaa;

pub(super) fn guest_memory() -> GuestMemoryMmap {
    memory(MEMORY)
}

/// The disk's bytes: every sector another.
pub(super) fn pattern() -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..SECTORS * 512).map(|at| (at / 512 + at % 512) as u8).collect());
    &PATTERN
}

pub(super) fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

pub(super) struct Guest<'m> {
    pub(super) memory: &'m GuestMemoryMmap,
    pub(super) queue: DriverQueue<'m>,
    pub(super) device: Block,
    pub(super) interrupt: Arc<Recorder>,
    pub(super) file: File,
}

impl<'m> Guest<'m> {
    pub(super) fn new(memory: &'m GuestMemoryMmap, read_only: bool) -> Self {
        Self::with_file(memory, file(pattern()), read_only)
    }

    /// A driver that accepts everything.
    pub(super) fn with_file(memory: &'m GuestMemoryMmap, image: File, read_only: bool) -> Self {
        let config = Config { id: "root".into(), file: image.try_clone().unwrap(), read_only };
        let device = Block::new(config).unwrap();
        let queue = DriverQueue::new(memory, QUEUE, SIZE);
        let mut guest = Self { memory, queue, device, interrupt: Recorder::new(), file: image };
        let features = guest.device.features();
        guest.activate(features);
        guest
    }

    /// Starts anew, with an empty queue.
    pub(super) fn activate(&mut self, features: u64) {
        self.device.reset();
        self.memory.write_slice(&[0; 0x8000], GuestAddress(QUEUE)).unwrap();
        self.queue = DriverQueue::new(self.memory, QUEUE, SIZE);
        let queues = [Some(&self.queue)];
        let activation = activation(&self.device, self.memory, features, &queues, &self.interrupt);
        self.device.activate(activation).unwrap();
    }

    /// Writes a header and an untouched status.
    pub(super) fn prepare(&self, kind: u32, sector: u64) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.put(HEADER, &header);
        self.put(STATUS, &[UNTOUCHED]);
    }

    /// A request between header and status: its status, and how much was written.
    pub(super) fn request(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
        self.prepare(kind, sector);
        let mut chain = vec![Buffer::Readable(HEADER, 16)];
        chain.extend(data);
        chain.push(Buffer::Writable(STATUS, 1));
        let head = self.queue.offer(&chain);
        self.device.queue_kicked(0).unwrap();
        let (used, len) = self.queue.take_used().unwrap();
        assert_eq!(used, head);
        (self.get(STATUS, 1)[0], len)
    }

    pub(super) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(super) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// What is in the file.
    pub(super) fn on_disk(&self, sector: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, sector * 512).unwrap();
        bytes
    }

    /// That a read still does what it should.
    pub(super) fn still_works(&mut self) {
        let sector = 9;
        assert_eq!(self.request(0, sector, &[Buffer::Writable(DATA, 512)]), (OK, 513));
        assert_eq!(self.get(DATA, 512), self.on_disk(sector, 512));
    }
}
