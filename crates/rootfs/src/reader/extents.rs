//! Extents: which blocks hold a file (`Documentation/filesystems/ext4/ifork.rst`).

use super::blocks::Blocks;
use super::error::within;
use super::fields::{u16_at, u32_at};
use super::inode::Inode;
use super::{ReadError, Take};

const MAGIC: u16 = 0xf30a;
const ENTRY: usize = 12;
/// Deepest tree that ext4 makes.
const DEPTH_MAX: u16 = 5;
/// Extents of one file; a file of 16 TiB without holes has half as many.
const EXTENTS_MAX: u64 = 1 << 20;
/// An extent's length above which it is allocated but was never written.
const UNWRITTEN: u16 = 0x8000;
/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// Takes a piece of a file, with its offset, and says whether to go on.
type TakeWhile<'t> = dyn FnMut(u64, &[u8]) -> Result<bool, ReadError> + 't;

/// A run of blocks of a file that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block, counted in the file.
    pub(super) logical: u32,
    /// The same, counted in the image.
    pub(super) physical: u64,
    /// Number of blocks.
    pub(super) length: u32,
}

/// The extents of a file, ascending and apart.
pub(super) fn of(blocks: &Blocks, inode: &Inode) -> Result<Vec<Extent>, ReadError> {
    inode.has_extents()?;
    let mut walk = Walk { blocks, inode: inode.number, next: 0, seen: 0, extents: Vec::new() };
    walk.node(&inode.inline, None)?;
    Ok(walk.extents)
}

/// Gives a file's data to `take`, piece by piece.
pub(super) fn read(blocks: &Blocks, inode: &Inode, take: &mut Take<'_>) -> Result<(), ReadError> {
    read_while(blocks, inode, &mut |offset, bytes| take(offset, bytes).map(|()| true))
}

/// Gives a file's data to `take`, piece by piece, until that says false.
pub(super) fn read_while(
    blocks: &Blocks,
    inode: &Inode,
    take: &mut TakeWhile<'_>,
) -> Result<(), ReadError> {
    let size = blocks.size();
    let mut buffer = Vec::new();
    for extent in of(blocks, inode)? {
        let mut done = 0;
        while done < extent.length {
            let offset = u64::from(extent.logical + done) * size as u64;
            let Some(left) = inode.meta.size.checked_sub(offset).filter(|left| *left > 0) else {
                // Blocks beyond the end are allocated ahead of writes.
                return Ok(());
            };
            let count = (extent.length - done).min((BUFFER / size) as u32);
            buffer.resize(count as usize * size, 0);
            blocks.fill(extent.physical + u64::from(done), &mut buffer)?;
            if !take(offset, &buffer[..left.min(buffer.len() as u64) as usize])? {
                return Ok(());
            }
            done += count;
        }
    }
    Ok(())
}

struct Walk<'b> {
    blocks: &'b Blocks,
    inode: u32,
    /// The first block that the next extent may begin at: extents ascend, so that no tree,
    /// whatever its nodes point at, is walked for ever.
    next: u64,
    seen: u64,
    extents: Vec<Extent>,
}

impl Walk<'_> {
    fn node(&mut self, raw: &[u8], expect: Option<u16>) -> Result<(), ReadError> {
        let (entries, depth) = (usize::from(u16_at(raw, 2)), u16_at(raw, 6));
        let fits = (entries + 1) * ENTRY <= raw.len();
        if u16_at(raw, 0) != MAGIC || !fits || depth > expect.unwrap_or(DEPTH_MAX) {
            return Err(self.wrong("a node that is none"));
        }
        if expect.is_some_and(|expect| depth != expect || entries == 0) {
            return Err(self.wrong("a node at the wrong depth, or an empty one"));
        }
        for entry in raw[ENTRY..(entries + 1) * ENTRY].as_chunks::<ENTRY>().0 {
            if depth == 0 {
                self.extent(entry)?;
                continue;
            }
            let child = u64::from(u16_at(entry, 8)) << 32 | u64::from(u32_at(entry, 4));
            let child = self.blocks.read(child)?;
            self.node(&child, Some(depth - 1))?;
        }
        Ok(())
    }

    fn extent(&mut self, entry: &[u8; ENTRY]) -> Result<(), ReadError> {
        self.seen += 1;
        within(self.seen, EXTENTS_MAX, "extents of a file")?;
        let (logical, length) = (u32_at(entry, 0), u16_at(entry, 4));
        let written = length <= UNWRITTEN;
        let length = u32::from(if written { length } else { length - UNWRITTEN });
        let end = u64::from(logical) + u64::from(length);
        if length == 0 || u64::from(logical) < self.next || end > 1 << 32 {
            return Err(self.wrong("extents that do not ascend"));
        }
        self.next = end;
        if written {
            let physical = u64::from(u16_at(entry, 6)) << 32 | u64::from(u32_at(entry, 8));
            self.extents.push(Extent { logical, physical, length });
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> ReadError {
        ReadError::Corrupt(format!("inode {} has {what}", self.inode))
    }
}
