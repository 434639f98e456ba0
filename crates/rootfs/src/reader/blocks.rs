//! Blocks of an image: within its bounds, and as its journal has them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadError;
use super::error::within;
use super::superblock::{self, Superblock};

/// First bytes of a block that stands escaped in the journal.
const ESCAPED: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();

/// How often all of an image may be read for one thing that is asked of it. Files may share
/// blocks that no sound image shares; an inode is read with all that stand in its block.
const TIMES: u64 = 16;
/// What may be read of the smallest image, in bytes.
const LEAST: u64 = 1 << 30;

/// Where the journal keeps what belongs into another block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer {
    /// The block in the journal.
    pub(super) block: u64,
    /// Whether its first four bytes stand for the journal's own mark.
    pub(super) escaped: bool,
}

/// The blocks of an image.
#[derive(Debug)]
pub(super) struct Blocks {
    image: File,
    pub(super) superblock: Superblock,
    newer: BTreeMap<u64, Newer>,
    /// Bytes read since the last question.
    pub(super) read: AtomicU64,
}

/// Reads and checks the superblock, and that the file is as long as it says.
pub(super) fn superblock(image: &File) -> Result<Superblock, ReadError> {
    let length = image.metadata().map_err(ReadError::io("looking at it"))?.len();
    let mut raw = [0; superblock::LENGTH];
    if length < superblock::OFFSET + superblock::LENGTH as u64 {
        return Err(ReadError::NotExt4(format!("it has {length} bytes")));
    }
    image.read_exact_at(&mut raw, superblock::OFFSET).map_err(ReadError::io("reading it"))?;
    let superblock = Superblock::parse(&raw)?;
    if superblock.length() > length {
        let says = superblock.length();
        return Err(ReadError::Corrupt(format!("it is {says} bytes long, its file only {length}")));
    }
    Ok(superblock)
}

impl Blocks {
    pub(super) fn new(image: File, superblock: Superblock) -> Self {
        Self { image, superblock, newer: BTreeMap::new(), read: AtomicU64::new(0) }
    }

    /// Something else is asked of the image.
    pub(super) fn begin(&self) {
        self.read.store(0, Ordering::Relaxed);
    }

    /// From now on reads these blocks from the journal.
    pub(super) fn replace(&mut self, newer: BTreeMap<u64, Newer>) {
        self.newer = newer;
    }

    pub(super) fn size(&self) -> usize {
        self.superblock.block_size as usize
    }

    /// One block.
    pub(super) fn read(&self, block: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; self.size()];
        self.fill(block, &mut bytes)?;
        Ok(bytes)
    }

    /// As many blocks, from `block` on, as `into` has room for; it holds whole ones.
    pub(super) fn fill(&self, block: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let count = (into.len() / self.size()) as u64;
        let end = block.checked_add(count).filter(|end| *end <= self.superblock.blocks);
        if end.is_none() {
            return Err(ReadError::Corrupt(format!("there is no block {block}")));
        }
        let length = into.len() as u64;
        let read = self.read.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        let limit = self.superblock.length().saturating_mul(TIMES).saturating_add(LEAST);
        within(read, limit, "bytes read of it")?;
        self.in_place(block, into)?;
        for (number, newer) in self.newer.range(block..block + count) {
            let at = (number - block) as usize * self.size();
            let Some(place) = into.get_mut(at..at + self.size()) else { continue };
            self.in_place(newer.block, place)?;
            if newer.escaped {
                place[..ESCAPED.len()].copy_from_slice(&ESCAPED);
            }
        }
        Ok(())
    }

    fn in_place(&self, block: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let read = self.image.read_exact_at(into, block * u64::from(self.superblock.block_size));
        read.map_err(ReadError::io(format!("reading block {block}")))
    }
}
