//! How large a disk must be.
//!
//! The fixed overhead of an ext4 file system follows from its length and its
//! number of inodes; this repeats the arithmetic of mkext4, which keeps it to
//! itself, and the tests hold the two together.

use crate::spool::BLOCK;
use crate::tree::{Kind, Tree};
use crate::{Limits, RootfsError};

const BLOCKS_PER_MIB: u64 = (1 << 20) / BLOCK;
const BLOCKS_PER_GIB: u64 = 1024 * BLOCKS_PER_MIB;

/// Never a smaller disk than this: less has too few inodes for a run to work in.
pub(crate) const SMALLEST_MIB: u64 = 128;

/// Largest disk that is made, 1 TiB: a larger one has more bitmaps than the
/// writer should hold in memory.
const LARGEST_MIB: u64 = 1 << 20;

/// What the default size leaves free.
const DEFAULT_FREE: u64 = 512 * BLOCKS_PER_MIB;

const BLOCKS_PER_GROUP: u64 = 32_768;
const GROUPS_PER_FLEX: u64 = 16;
const DESCRIPTOR_BYTES: u64 = 32;
const INODES_PER_BLOCK: u64 = 16;
const INODES_PER_GROUP_MAX: u64 = 32_768;

/// Inodes below the first that a file gets, and lost+found.
const RESERVED_INODES: u64 = 11;

/// Free inodes that a disk has in any case, unless it is small.
const SPARE_INODES: u64 = 32_768;

/// A file system's length and number of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Length of the disk, in blocks.
    pub(crate) disk_blocks: u64,
    /// Length of the file system on it: less, where the last group would be too
    /// short to hold its own tables.
    pub(crate) blocks: u64,
    pub(crate) inodes: u32,
}

/// What a tree takes on disk beside the fixed overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) inodes: u64,
    /// Directories, long links, attributes: what the writer keeps in memory.
    pub(crate) metadata_blocks: u64,
    pub(crate) data_blocks: u64,
}

impl Demand {
    /// Estimated closely, a little high, without laying anything out.
    pub(crate) fn of(tree: &Tree<'_>) -> Self {
        let mut demand = Self { inodes: 0, metadata_blocks: 4, data_blocks: 0 };
        for inode in tree.live_inodes() {
            demand.inodes += 1;
            demand.metadata_blocks += u64::from(xattrs_need_block(&inode.xattrs));
            match &inode.kind {
                Kind::Directory(directory) => {
                    let names: u64 = directory.entries.keys().map(|n| name_bytes(n.len())).sum();
                    demand.metadata_blocks += directory_blocks(names);
                }
                Kind::Symlink(target) => demand.metadata_blocks += u64::from(target.len() > 59),
                Kind::File(content) => {
                    let data: u64 = content.runs.iter().map(|r| r.length.div_ceil(BLOCK)).sum();
                    // An extent covers 32768 blocks at most, an extent block 340.
                    let extents = content.runs.len() as u64 + data / 32_768;
                    demand.data_blocks += data;
                    demand.metadata_blocks += if extents > 4 { extents / 340 + 2 } else { 0 };
                }
                _ => {}
            }
        }
        demand
    }

    fn blocks(&self) -> u64 {
        self.metadata_blocks + self.data_blocks
    }

    /// The same demand, known exactly: laid out on `geometry`, it left
    /// `free` blocks.
    pub(crate) fn measured(self, geometry: &Geometry, free: u64) -> Self {
        let used = geometry.blocks.saturating_sub(geometry.overhead() + free);
        Self { data_blocks: used.saturating_sub(self.metadata_blocks), ..self }
    }

    /// Refuses a tree whose metadata would fill the memory of the host.
    pub(crate) fn within(&self, limits: &Limits) -> Result<(), RootfsError> {
        if self.metadata_blocks <= limits.metadata_blocks {
            return Ok(());
        }
        Err(RootfsError::Limit {
            layer: "(all together)".to_owned(),
            what: "blocks of directories, long links and attributes",
            limit: limits.metadata_blocks,
        })
    }
}

impl Geometry {
    /// The smallest whole GiB that leaves 512 MiB free.
    pub(crate) fn default_for(demand: &Demand) -> Result<Self, RootfsError> {
        let mut gib = (demand.blocks() / BLOCKS_PER_GIB).max(1);
        loop {
            let geometry = Self::of_mib(gib * 1024, demand)?;
            if geometry.leaves(demand).is_some_and(|free| free >= DEFAULT_FREE) {
                return Ok(geometry);
            }
            gib += 1;
        }
    }

    /// A disk of `mib` MiB, which is [`SMALLEST_MIB`] or more.
    pub(crate) fn of_mib(mib: u64, demand: &Demand) -> Result<Self, RootfsError> {
        if mib > LARGEST_MIB {
            return Err(RootfsError::Usage(format!(
                "a root disk of {mib} MiB is too large: {LARGEST_MIB} MiB is the most"
            )));
        }
        let disk_blocks = mib * BLOCKS_PER_MIB;
        let mut geometry = Self { disk_blocks, blocks: disk_blocks, inodes: 0 };
        geometry.set_inodes(demand);
        while !geometry.last_flex_fits() && geometry.groups() > 1 {
            geometry.blocks = (geometry.groups() - 1) * BLOCKS_PER_GROUP;
            geometry.set_inodes(demand);
        }
        Ok(geometry)
    }

    /// The smallest disk that holds `demand`.
    pub(crate) fn minimum_for(demand: &Demand) -> Result<Self, RootfsError> {
        // Overhead is a few percent, so the answer is close above the demand.
        let mut mib = (demand.blocks() / BLOCKS_PER_MIB).max(SMALLEST_MIB);
        loop {
            let geometry = Self::of_mib(mib, demand)?;
            if geometry.leaves(demand).is_some() {
                return Ok(geometry);
            }
            mib += 1;
        }
    }

    pub(crate) fn mib(&self) -> u64 {
        self.disk_blocks / BLOCKS_PER_MIB
    }

    /// Blocks that `demand` leaves free here; `None` if it does not fit.
    fn leaves(&self, demand: &Demand) -> Option<u64> {
        if u64::from(self.inodes) < demand.inodes + RESERVED_INODES {
            return None;
        }
        // What the allocator may skip to keep an inode table in one piece.
        let unusable = if self.groups() > 1 { self.inode_table_blocks() } else { 0 };
        self.blocks.checked_sub(self.overhead() + unusable + demand.blocks())
    }

    /// Blocks that can never hold a file or directory.
    fn overhead(&self) -> u64 {
        let copies = 1 + (1..self.groups()).filter(|&group| has_backup(group)).count() as u64;
        copies * (1 + self.descriptor_blocks())
            + self.groups() * (2 + self.inode_table_blocks())
            + journal_blocks(self.blocks)
    }

    /// One inode per 16 KiB, and room beside those that the image brings.
    fn set_inodes(&mut self, demand: &Demand) {
        let by_size = self.blocks / 4;
        let wanted = by_size.max(demand.inodes + RESERVED_INODES + by_size.min(SPARE_INODES));
        let most = self.groups() * INODES_PER_GROUP_MAX;
        self.inodes = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
    }

    fn groups(&self) -> u64 {
        self.blocks.div_ceil(BLOCKS_PER_GROUP)
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups() * DESCRIPTOR_BYTES).div_ceil(BLOCK)
    }

    fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes).div_ceil(self.groups()).div_ceil(INODES_PER_BLOCK)
    }

    /// Whether the last set of groups, whose tables stand together in its first
    /// one, has room for them.
    fn last_flex_fits(&self) -> bool {
        let leader = (self.groups() - 1) / GROUPS_PER_FLEX * GROUPS_PER_FLEX;
        let members = self.groups() - leader;
        let backups = (leader..self.groups()).filter(|&g| g == 0 || has_backup(g)).count() as u64;
        let tables = members * (2 + self.inode_table_blocks());
        // One table may be moved past a backup superblock in its way.
        let needed = tables + backups * (1 + self.descriptor_blocks() + self.inode_table_blocks());
        self.blocks - leader * BLOCKS_PER_GROUP >= needed
    }
}

/// sparse_super: groups 1 and the powers of 3, 5 and 7 hold backups.
fn has_backup(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut rest = group;
        while rest > 1 && rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group > 0 && [3, 5, 7].into_iter().any(is_power)
}

/// mke2fs's journal sizes, which mkext4 has taken over.
fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        524_288..4_194_304 => 16_384,
        4_194_304..8_388_608 => 32_768,
        8_388_608..16_777_216 => 65_536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    }
}

/// Bytes of a directory record.
fn name_bytes(length: usize) -> u64 {
    (8 + length as u64).next_multiple_of(4)
}

/// Blocks of a directory: a record does not cross blocks, so each may waste
/// nearly one record; an indexed one has its index in front.
fn directory_blocks(names: u64) -> u64 {
    const USABLE: u64 = 4084 - 132;
    if names < BLOCK - 24 - 24 {
        1
    } else {
        let leaves = names.div_ceil(USABLE);
        leaves + 1 + leaves / 500
    }
}

/// Whether attributes exceed the 92 bytes that an inode holds itself.
fn xattrs_need_block(xattrs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let bytes: usize = xattrs
        .iter()
        .map(|(name, value)| 16 + name.len().next_multiple_of(4) + value.len().next_multiple_of(4))
        .sum();
    bytes + 4 > 92
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(blocks: u64, inodes: u32) -> Geometry {
        Geometry { disk_blocks: blocks, blocks, inodes }
    }

    /// Figures of real file systems, from mkext4's own tests.
    #[test]
    fn overhead_matches_the_writer() {
        assert_eq!(geometry(131_072, 32_768).overhead(), 6158);
        assert_eq!(geometry(16_777_216, 4_194_304).overhead(), 394_305);
    }

    #[test]
    fn the_default_leaves_half_a_gib_in_whole_gib() {
        let check = |mib: u64, want_mib: u64| {
            let demand =
                Demand { inodes: 1000, metadata_blocks: 100, data_blocks: mib * BLOCKS_PER_MIB };
            let geometry = Geometry::default_for(&demand).unwrap();
            assert_eq!(geometry.mib(), want_mib, "{mib}");
            assert!(u64::from(geometry.inodes) * 16_384 >= geometry.blocks * BLOCK);
        };
        check(0, 1024);
        check(400, 1024);
        check(480, 2048);
        check(1300, 2048);
        check(1500, 3072);
        check(5000, 6144);
    }

    #[test]
    fn the_smallest_disk_is_128_mib() {
        let demand = Demand { inodes: 10, metadata_blocks: 10, data_blocks: 10 };
        assert_eq!(Geometry::minimum_for(&demand).unwrap().mib(), 128);
        assert!(Geometry::of_mib(u64::from(u32::MAX), &demand).is_err());
    }

    #[test]
    fn many_small_files_get_their_inodes() {
        let demand = Demand { inodes: 90_000, metadata_blocks: 100, data_blocks: 0 };
        let geometry = Geometry::default_for(&demand).unwrap();
        assert_eq!(geometry.mib(), 1024);
        assert!(geometry.inodes >= 90_000 + 32_768);
    }

    #[test]
    fn a_tail_that_cannot_hold_its_tables_stays_unused() {
        let demand = Demand { inodes: 10, metadata_blocks: 10, data_blocks: 10 };
        let geometry = Geometry::of_mib(2049, &demand).unwrap();
        assert_eq!(geometry.blocks, 2048 * BLOCKS_PER_MIB);
        assert_eq!(geometry.disk_blocks, 2049 * BLOCKS_PER_MIB);
    }
}
