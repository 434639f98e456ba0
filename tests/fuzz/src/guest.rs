//! A guest's memory, and which of it a device may write.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// How much memory there is, from 0 on.
pub const SIZE: usize = 0x1_8000;
/// Where one region of it ends and another begins: a buffer across it is in two pieces.
const SEAM: usize = 0x1_0000;
/// Where the queues are, each a page.
const QUEUES: u64 = 0x1000;
/// How far it is from one to the next.
const QUEUE_STRIDE: u64 = 0x1000;
/// Where indirect tables are; a page of them.
const TABLES: u64 = 0x5000;
/// Where buffers are, up to the end.
const DATA: usize = 0x8000;

/// How the guest treats its own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Descriptors may say anything, but are only where they belong, and name nothing but
    /// buffers and what is behind the end: then it is known what a device may write.
    Tidy,
    /// Everything is written anywhere.
    Wild,
}

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its memory.
    pub memory: GuestMemoryMmap,
    pub(crate) manners: Manners,
    /// What it wrote itself, from [`TABLES`] on.
    wrote: Vec<u8>,
    /// Ranges that descriptors let the device write.
    given: Vec<(usize, usize)>,
}

impl Default for Guest {
    /// One that writes anything anywhere.
    fn default() -> Self {
        Self::new(Manners::Wild)
    }
}

impl Guest {
    pub(crate) fn new(manners: Manners) -> Self {
        let regions = [(GuestAddress(0), SEAM), (GuestAddress(SEAM as u64), SIZE - SEAM)];
        let memory = GuestMemoryMmap::from_ranges(&regions).expect("memory for a guest");
        let wrote = match manners {
            Manners::Tidy => vec![0; SIZE - TABLES as usize],
            Manners::Wild => Vec::new(),
        };
        Self { memory, manners, wrote, given: Vec::new() }
    }

    /// Where queue `index` is.
    pub(crate) fn queue(index: usize) -> u64 {
        QUEUES + QUEUE_STRIDE * index as u64
    }

    /// An address for a descriptor, near one that `number` picks.
    pub(crate) fn buffer(&self, number: u16) -> u64 {
        DATA as u64 + u64::from(number)
    }

    /// Where entry `index` of the indirect tables is.
    pub(crate) fn table(index: u8) -> u64 {
        TABLES + 16 * u64::from(index)
    }

    /// Takes note of a descriptor that a device may write to.
    pub(crate) fn give(&mut self, address: u64, len: u32) {
        if self.manners == Manners::Tidy {
            let from = (address as usize).min(SIZE);
            self.given.push((from, from.saturating_add(len as usize).min(SIZE)));
        }
    }

    /// Writes, as far as there is memory.
    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
        let room = (SIZE as u64).saturating_sub(address) as usize;
        let bytes = &bytes[..bytes.len().min(room)];
        self.memory.write_slice(bytes, GuestAddress(address)).expect("write to a guest's memory");
        if self.manners == Manners::Tidy && !bytes.is_empty() {
            let at = address.checked_sub(TABLES).expect("tidy: tables and buffers only") as usize;
            self.wrote[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Sees to it that nothing was written that was not given.
    ///
    /// # Panics
    /// If it was.
    pub(crate) fn check(&self) {
        if self.manners == Manners::Wild {
            return;
        }
        let mut now = vec![0; self.wrote.len()];
        self.memory.read_slice(&mut now, GuestAddress(TABLES)).expect("read a guest's memory");
        let mut expect = self.wrote.clone();
        for &(from, to) in &self.given {
            let range = from.max(TABLES as usize) - TABLES as usize..to - TABLES as usize;
            expect[range.clone()].copy_from_slice(&now[range]);
        }
        if let Some(at) = now.iter().zip(&expect).position(|(now, expect)| now != expect) {
            let at = at + TABLES as usize;
            panic!("a device wrote to {at:#x}, which no descriptor lets it");
        }
    }
}
