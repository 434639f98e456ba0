//! What a journal holds that is not in its place yet
//! (`Documentation/filesystems/ext4/journal.rst`).
//!
//! A machine that was killed leaves finished transactions in the journal. The kernel plays them
//! back when it mounts the disk; a reader that writes nothing reads those blocks from the
//! journal instead. A transaction counts if its end was written, which the kernel does after
//! all else of it is on the disk; checksums are not looked at.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ReadError;
use super::blocks::{Blocks, Newer};
use super::error::within;
use super::extents::{self, Extent};
use super::fields::u32_be_at;
use super::inode::Inode;

const MAGIC: u32 = 0xc03b_3998;
const HEADER: usize = 12;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCKS: [u32; 2] = [3, 4];
const REVOKE: u32 = 5;

const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CHECKSUMS_2: u32 = 0x8;
const INCOMPAT_CHECKSUMS_3: u32 = 0x10;
/// Revocations, 64 bits, commits without waiting, checksums of two kinds.
const INCOMPAT_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10;
/// Version 1 of the journal's superblock has no features.
const FIRST_VERSION: u32 = 3;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;
const UUID: usize = 16;

/// Blocks of a journal: four times as many as mke2fs gives the largest file system by itself.
const BLOCKS_MAX: u64 = 1 << 20;

/// The blocks that are to be read from the journal.
pub(super) fn replayed(blocks: &Blocks, inode: &Inode) -> Result<BTreeMap<u64, Newer>, ReadError> {
    let extents = extents::of(blocks, inode)?;
    let journal = Journal { blocks, extents };
    let Some(log) = Log::open(&journal)? else { return Ok(BTreeMap::new()) };
    log.collect(&journal)
}

/// The journal as a file.
struct Journal<'b> {
    blocks: &'b Blocks,
    extents: Vec<Extent>,
}

impl Journal<'_> {
    /// Which block of the image is block `number` of the journal.
    fn place(&self, number: u32) -> Result<u64, ReadError> {
        let at = self.extents.partition_point(|extent| extent.logical <= number);
        let extent = at.checked_sub(1).and_then(|at| self.extents.get(at));
        let place = extent.and_then(|extent| {
            let within = number - extent.logical;
            (within < extent.length).then_some(extent.physical + u64::from(within))
        });
        place.ok_or_else(|| ReadError::Corrupt(format!("its journal has no block {number}")))
    }

    fn read(&self, number: u32) -> Result<Vec<u8>, ReadError> {
        self.blocks.read(self.place(number)?)
    }
}

/// What the journal's superblock says.
struct Log {
    length: u32,
    first: u32,
    start: u32,
    sequence: u32,
    incompat: u32,
}

/// A block that a transaction writes.
struct Written {
    /// In the image.
    block: u64,
    transaction: u32,
    place: Newer,
}

/// What is taken from the log in one pass over it. There may be 500 revocations for every block
/// of a journal, so those are taken last, and of the blocks that matter alone.
trait Pass {
    fn write(&mut self, written: Written);
    fn revoke(&mut self, block: u64, transaction: u32);
    /// The end of a transaction, without which it has not happened.
    fn commit(&mut self);
}

/// The first pass.
#[derive(Default)]
struct Writes {
    finished: Vec<Written>,
    open: Vec<Written>,
}

impl Pass for Writes {
    fn write(&mut self, written: Written) {
        self.open.push(written);
    }

    fn revoke(&mut self, _: u64, _: u32) {}

    fn commit(&mut self) {
        self.finished.append(&mut self.open);
    }
}

/// The second pass: transactions up to which a block must not be replayed.
struct Revocations {
    of: HashSet<u64>,
    finished: HashMap<u64, u32>,
    open: HashMap<u64, u32>,
}

impl Pass for Revocations {
    fn write(&mut self, _: Written) {}

    fn revoke(&mut self, block: u64, transaction: u32) {
        if self.of.contains(&block) {
            self.open.insert(block, transaction);
        }
    }

    fn commit(&mut self) {
        self.finished.extend(self.open.drain());
    }
}

impl Log {
    /// None if there is nothing to replay.
    fn open(journal: &Journal<'_>) -> Result<Option<Self>, ReadError> {
        let raw = journal.read(0)?;
        let wrong = |what: &str| Err(ReadError::Corrupt(format!("its journal {what}")));
        let kind = u32_be_at(&raw, 4);
        if u32_be_at(&raw, 0) != MAGIC || !SUPERBLOCKS.contains(&kind) {
            return wrong("has no superblock");
        }
        let log = Self {
            length: u32_be_at(&raw, 0x10),
            first: u32_be_at(&raw, 0x14),
            sequence: u32_be_at(&raw, 0x18),
            start: u32_be_at(&raw, 0x1c),
            incompat: if kind == FIRST_VERSION { 0 } else { u32_be_at(&raw, 0x28) },
        };
        if log.start == 0 {
            return Ok(None);
        }
        if log.incompat & !INCOMPAT_KNOWN != 0 {
            let unknown = log.incompat & !INCOMPAT_KNOWN;
            return Err(ReadError::Unsupported(format!("its journal's features {unknown:#x}")));
        }
        within(log.length.into(), BLOCKS_MAX, "blocks in a journal")?;
        if log.first == 0 || log.first >= log.length || log.start >= log.length {
            return wrong("begins outside of itself");
        }
        if u32_be_at(&raw, 0xc) != journal.blocks.superblock.block_size {
            return wrong("has blocks of another size");
        }
        Ok(Some(log))
    }

    fn collect(&self, journal: &Journal<'_>) -> Result<BTreeMap<u64, Newer>, ReadError> {
        let mut writes = Writes::default();
        self.scan(journal, &mut writes)?;
        let of = writes.finished.iter().map(|written| written.block).collect();
        let (finished, open) = (HashMap::new(), HashMap::new());
        let mut revocations = Revocations { of, finished, open };
        self.scan(journal, &mut revocations)?;
        let mut newer = BTreeMap::new();
        for Written { block, transaction, place } in writes.finished {
            let revoked = revocations.finished.get(&block);
            // Transaction numbers wrap.
            let live =
                revoked.is_none_or(|until| transaction.wrapping_sub(*until).cast_signed() > 0);
            if live {
                newer.insert(block, place);
            }
        }
        Ok(newer)
    }

    /// Goes over the log once, from its start to the first block that does not belong to it.
    fn scan(&self, journal: &Journal<'_>, pass: &mut dyn Pass) -> Result<(), ReadError> {
        let (mut at, mut sequence) = (self.start, self.sequence);
        let mut left = self.length;
        while left > 0 {
            let raw = journal.read(at)?;
            if u32_be_at(&raw, 0) != MAGIC || u32_be_at(&raw, 8) != sequence {
                break;
            }
            let mut next = self.after(at);
            left -= 1;
            match u32_be_at(&raw, 4) {
                DESCRIPTOR => {
                    for (block, escaped) in self.tags(&raw) {
                        let place = Newer { block: journal.place(next)?, escaped };
                        pass.write(Written { block, transaction: sequence, place });
                        next = self.after(next);
                        left = left.saturating_sub(1);
                    }
                }
                REVOKE => {
                    self.revocations(&raw).for_each(|block| pass.revoke(block, sequence));
                }
                COMMIT => {
                    pass.commit();
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
            at = next;
        }
        Ok(())
    }

    fn after(&self, block: u32) -> u32 {
        if block + 1 >= self.length { self.first } else { block + 1 }
    }

    fn wide(&self) -> bool {
        self.incompat & INCOMPAT_64BIT != 0
    }

    /// The blocks whose content follows a descriptor, and whether it is escaped.
    fn tags(&self, raw: &[u8]) -> Vec<(u64, bool)> {
        let third = self.incompat & INCOMPAT_CHECKSUMS_3 != 0;
        let second = self.incompat & INCOMPAT_CHECKSUMS_2 != 0;
        let size = match (third, second, self.wide()) {
            (true, _, _) => 16,
            (_, false, false) => 8,
            (_, true, false) => 10,
            (_, false, true) => 12,
            (_, true, true) => 14,
        };
        let tail = if third || second { 4 } else { 0 };
        let mut rest = raw.get(HEADER..raw.len() - tail).unwrap_or_default();
        let mut tags = Vec::new();
        while rest.len() >= size {
            let flags = if third { u32_be_at(rest, 4) } else { u32_be_at(rest, 4) & 0xffff };
            let high = if self.wide() { u32_be_at(rest, 8) } else { 0 };
            tags.push((
                u64::from(high) << 32 | u64::from(u32_be_at(rest, 0)),
                flags & TAG_ESCAPED != 0,
            ));
            let skip = if flags & TAG_SAME_UUID == 0 { size + UUID } else { size };
            rest = rest.get(skip..).unwrap_or_default();
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        tags
    }

    fn revocations<'r>(&self, raw: &'r [u8]) -> impl Iterator<Item = u64> + use<'r> {
        let wide = self.wide();
        let size = if wide { 8 } else { 4 };
        let end = (u32_be_at(raw, 0xc) as usize).min(raw.len());
        let list = raw.get(HEADER + 4..end).unwrap_or_default();
        let number = move |entry: &[u8]| match wide {
            true => u64::from(u32_be_at(entry, 0)) << 32 | u64::from(u32_be_at(entry, 4)),
            false => u64::from(u32_be_at(entry, 0)),
        };
        list.chunks_exact(size).map(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(block: u64, transaction: u32) -> Written {
        Written { block, transaction, place: Newer { block: 7, escaped: false } }
    }

    #[test]
    fn only_finished_transactions_and_only_blocks_that_matter_are_remembered() {
        let mut writes = Writes::default();
        writes.write(written(10, 1));
        writes.revoke(10, 1);
        writes.commit();
        writes.write(written(11, 2));
        let blocks: Vec<_> = writes.finished.iter().map(|written| written.block).collect();
        assert_eq!(blocks, [10]);
        let of = HashSet::from([10]);
        let mut pass = Revocations { of, finished: HashMap::new(), open: HashMap::new() };
        (0..1_000_000).for_each(|block| pass.revoke(block, 3));
        assert_eq!(pass.open, HashMap::from([(10, 3)]));
        assert!(pass.finished.is_empty());
        pass.commit();
        pass.revoke(10, 4);
        assert_eq!(pass.finished, HashMap::from([(10, 3)]));
    }
}
