//! The superblock: what kind of file system it is, and where its tables are.
//!
//! Offsets are those of Linux's `Documentation/filesystems/ext4/super.rst`.

use super::ReadError;
use super::fields::{u16_at, u32_at};

/// Where the superblock begins, in bytes, whatever the block size.
pub(super) const OFFSET: u64 = 1024;
/// Its length in bytes.
pub(super) const LENGTH: usize = 1024;

const MAGIC: u16 = 0xef53;

/// Block sizes that a guest whose pages have 4 KiB can mount, as powers of two.
const BLOCK_LOG: std::ops::RangeInclusive<u32> = 10..=12;

const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
/// What the reader knows: file types in directories, recovery, meta block groups, extents,
/// 64 bits, protection against several mounts, flexible groups, attributes in inodes, a seed of
/// checksums, large directories, data in inodes (refused where it is met), case folding.
const INCOMPAT_READABLE: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x20000;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_JOURNAL: u32 = 0x4;

/// The fields that are used, checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) block_size: u32,
    pub(super) blocks: u64,
    pub(super) inodes: u32,
    pub(super) first_data_block: u32,
    pub(super) blocks_per_group: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: u16,
    pub(super) descriptor_size: u16,
    pub(super) first_meta_group: Option<u32>,
    /// The journal's inode, if it holds what must be read instead of what is in place.
    pub(super) journal: Option<u32>,
    pub(super) label: String,
    incompat: u32,
    sparse: Sparse,
}

/// Which groups hold copies of the superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sparse {
    All,
    Powers,
    Listed([u32; 2]),
}

impl Superblock {
    /// Checks the bytes at [`OFFSET`].
    ///
    /// # Errors
    /// [`ReadError::NotExt4`] for what has no superblock, [`ReadError::Corrupt`] for one that
    /// contradicts itself.
    pub(super) fn parse(raw: &[u8; LENGTH]) -> Result<Self, ReadError> {
        if u16_at(raw, 0x38) != MAGIC {
            return Err(ReadError::NotExt4("it has no superblock".into()));
        }
        let incompat = u32_at(raw, 0x60);
        if incompat & INCOMPAT_JOURNAL_DEVICE != 0 {
            return Err(ReadError::NotExt4("it is the journal of another file system".into()));
        }
        let log = u32_at(raw, 0x18).saturating_add(10);
        if !BLOCK_LOG.contains(&log) {
            let reason = format!("blocks of 2^{log} bytes, where a guest needs 1, 2 or 4 KiB");
            return Err(ReadError::NotExt4(reason));
        }
        let wide = incompat & INCOMPAT_64BIT != 0;
        let high = if wide { u32_at(raw, 0x150) } else { 0 };
        let first_generation = u32_at(raw, 0x4c) == 0;
        let compat = u32_at(raw, 0x5c);
        let superblock = Self {
            block_size: 1 << log,
            blocks: u64::from(high) << 32 | u64::from(u32_at(raw, 0x4)),
            inodes: u32_at(raw, 0x0),
            first_data_block: u32_at(raw, 0x14),
            blocks_per_group: u32_at(raw, 0x20),
            inodes_per_group: u32_at(raw, 0x28),
            inode_size: if first_generation { 128 } else { u16_at(raw, 0x58) },
            descriptor_size: if wide { u16_at(raw, 0xfe) } else { 32 },
            first_meta_group: (incompat & INCOMPAT_META_BG != 0).then(|| u32_at(raw, 0x104)),
            journal: (incompat & INCOMPAT_RECOVER != 0 && compat & COMPAT_JOURNAL != 0)
                .then(|| u32_at(raw, 0xe0)),
            label: label(&raw[0x78..0x88]),
            incompat,
            sparse: if compat & COMPAT_SPARSE_SUPER2 != 0 {
                Sparse::Listed([u32_at(raw, 0x24c), u32_at(raw, 0x250)])
            } else if u32_at(raw, 0x64) & RO_COMPAT_SPARSE_SUPER != 0 {
                Sparse::Powers
            } else {
                Sparse::All
            },
        };
        superblock.check()?;
        Ok(superblock)
    }

    fn check(&self) -> Result<(), ReadError> {
        let bits = self.block_size * 8;
        let wrong = |what: &str, value: u64| {
            Err(ReadError::Corrupt(format!("the superblock says {value} for its {what}")))
        };
        if self.blocks == 0 || self.blocks > u64::MAX / u64::from(self.block_size) {
            return wrong("number of blocks", self.blocks);
        }
        if u64::from(self.first_data_block) >= self.blocks || self.first_data_block > 1 {
            return wrong("first block", self.first_data_block.into());
        }
        // With clusters of blocks a group has more of them than bits in one bitmap.
        if self.blocks_per_group == 0 {
            return wrong("blocks in a group", 0);
        }
        if self.inodes_per_group == 0 || self.inodes_per_group > bits {
            return wrong("inodes in a group", self.inodes_per_group.into());
        }
        let size = u32::from(self.inode_size);
        if size < 128 || !size.is_power_of_two() || size > self.block_size {
            return wrong("size of an inode", size.into());
        }
        let size = u32::from(self.descriptor_size);
        if size < 32 || !size.is_power_of_two() || size > self.block_size {
            return wrong("size of a group descriptor", size.into());
        }
        Ok(())
    }

    /// The length of the file system in bytes.
    pub(super) fn length(&self) -> u64 {
        self.blocks * u64::from(self.block_size)
    }

    /// Whether its journal must be replayed before it is consistent.
    pub(super) fn needs_recovery(&self) -> bool {
        self.incompat & INCOMPAT_RECOVER != 0
    }

    /// Refuses features that change how files are read and are not known here.
    pub(super) fn readable(&self) -> Result<(), ReadError> {
        match self.incompat & !INCOMPAT_READABLE {
            0 => Ok(()),
            unknown => Err(ReadError::Unsupported(format!("its features {unknown:#x}"))),
        }
    }

    fn groups(&self) -> u64 {
        (self.blocks - u64::from(self.first_data_block)).div_ceil(self.blocks_per_group.into())
    }

    /// Block of the descriptor of a group, and where in it the descriptor begins.
    pub(super) fn descriptor(&self, group: u32) -> Result<(u64, usize), ReadError> {
        let group = u64::from(group);
        if group >= self.groups() {
            return Err(ReadError::Corrupt(format!("there is no group {group}")));
        }
        let in_block = u64::from(self.block_size) / u64::from(self.descriptor_size);
        let number = group / in_block;
        let offset = (group % in_block) as usize * usize::from(self.descriptor_size);
        let block = match self.first_meta_group {
            Some(first) if number >= u64::from(first) => {
                let group = number * in_block;
                let start =
                    group * u64::from(self.blocks_per_group) + u64::from(self.first_data_block);
                start + u64::from(self.has_superblock(group))
            }
            _ => u64::from(self.first_data_block) + 1 + number,
        };
        Ok((block, offset))
    }

    fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        match &self.sparse {
            _ if group == 0 => true,
            Sparse::All => true,
            Sparse::Powers => group == 1 || power_of(3) || power_of(5) || power_of(7),
            Sparse::Listed(groups) => groups.iter().any(|listed| u64::from(*listed) == group),
        }
    }

    /// Whether descriptors have the upper halves of block numbers.
    pub(super) fn wide_descriptors(&self) -> bool {
        self.incompat & INCOMPAT_64BIT != 0 && self.descriptor_size >= 64
    }
}

/// A label is shown to people: nothing in it may act on their terminal.
fn label(raw: &[u8]) -> String {
    let end = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
    let text = String::from_utf8_lossy(&raw[..end]);
    text.chars().filter(|c| !c.is_control()).collect()
}
