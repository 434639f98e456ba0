//! Inodes (`Documentation/filesystems/ext4/inodes.rst`).

use super::blocks::Blocks;
use super::fields::{u16_at, u32_at};
use super::{ReadError, TARGET_MAX};

/// Length of the part that holds extents or a short link target.
pub(super) const INLINE: usize = 60;

const EXTENTS: u32 = 0x8_0000;
const INLINE_DATA: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;

/// Seconds of the field that was there first.
const EPOCH_BITS: u32 = 0x3;

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    /// In words, with an article.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
        }
    }

    /// In one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharDevice => "char-device",
            Self::BlockDevice => "block-device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// What is known of a node beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMeta {
    /// Permission bits, set-id and sticky bits included.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes, holes included.
    pub size: u64,
    /// Names that it has.
    pub links: u16,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
}

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) kind: NodeKind,
    pub(super) meta: NodeMeta,
    /// The root of its extents, or a short target.
    pub(super) inline: [u8; INLINE],
    flags: u32,
}

impl Inode {
    /// Reads inode `number`.
    pub(super) fn read(blocks: &Blocks, number: u32) -> Result<Self, ReadError> {
        let superblock = &blocks.superblock;
        let index = number.checked_sub(1).filter(|_| number <= superblock.inodes);
        let index =
            index.ok_or_else(|| ReadError::Corrupt(format!("there is no inode {number}")))?;
        let (block, offset) = superblock.descriptor(index / superblock.inodes_per_group)?;
        let table = {
            let descriptor = blocks.read(block)?;
            let descriptor = descriptor.get(offset..).unwrap_or_default();
            let high = if superblock.wide_descriptors() { u32_at(descriptor, 0x28) } else { 0 };
            u64::from(high) << 32 | u64::from(u32_at(descriptor, 0x8))
        };
        let at = u64::from(index % superblock.inodes_per_group) * u64::from(superblock.inode_size);
        let size = u64::from(superblock.block_size);
        let block = table.checked_add(at / size);
        let block =
            block.ok_or_else(|| ReadError::Corrupt(format!("inode {number} is nowhere")))?;
        let block = blocks.read(block)?;
        let at = (at % size) as usize;
        let raw = block.get(at..at + usize::from(superblock.inode_size)).unwrap_or_default();
        Self::parse(number, raw)
    }

    fn parse(number: u32, raw: &[u8]) -> Result<Self, ReadError> {
        let mode = u16_at(raw, 0x0);
        let kind = match mode >> 12 {
            0x1 => NodeKind::Fifo,
            0x2 => NodeKind::CharDevice,
            0x4 => NodeKind::Directory,
            0x6 => NodeKind::BlockDevice,
            0x8 => NodeKind::File,
            0xa => NodeKind::Symlink,
            0xc => NodeKind::Socket,
            other => {
                return Err(ReadError::Corrupt(format!("inode {number} is of kind {other:#x}")));
            }
        };
        let two = |low, high| u32::from(u16_at(raw, high)) << 16 | u32::from(u16_at(raw, low));
        let size = u64::from(u32_at(raw, 0x6c)) << 32 | u64::from(u32_at(raw, 0x4));
        if size > i64::MAX as u64 {
            return Err(ReadError::Corrupt(format!("inode {number} is {size} bytes long")));
        }
        let mut inline = [0; INLINE];
        if let Some(bytes) = raw.get(0x28..0x28 + INLINE) {
            inline.copy_from_slice(bytes);
        }
        let meta = NodeMeta {
            mode: mode & 0o7777,
            uid: two(0x2, 0x78),
            gid: two(0x18, 0x7a),
            size,
            links: u16_at(raw, 0x1a),
            mtime: mtime(raw),
        };
        Ok(Self { number, kind, meta, inline, flags: u32_at(raw, 0x20) })
    }

    /// The target of a link that is short enough to stand in the inode.
    pub(super) fn inline_target(&self) -> Option<Vec<u8>> {
        let short = self.meta.size < INLINE as u64 && self.flags & EXTENTS == 0;
        short.then(|| self.inline[..self.meta.size.min(TARGET_MAX) as usize].to_vec())
    }

    /// Refuses what is not kept in extents.
    pub(super) fn has_extents(&self) -> Result<(), ReadError> {
        let unsupported = |what: &str| {
            Err(ReadError::Unsupported(format!(
                "files that {what}, such as inode {},",
                self.number
            )))
        };
        match self.flags {
            flags if flags & ENCRYPTED != 0 => unsupported("are encrypted"),
            flags if flags & INLINE_DATA != 0 => unsupported("stand in their inode"),
            flags if flags & EXTENTS == 0 => unsupported("are not in extents"),
            _ => Ok(()),
        }
    }
}

/// Seconds of 34 bits and nanoseconds, where the inode is long enough for them.
fn mtime(raw: &[u8]) -> (i64, u32) {
    let seconds = i64::from(u32_at(raw, 0x10).cast_signed());
    let extra_size = usize::from(u16_at(raw, 0x80));
    if raw.len() < 0x8c || 128 + extra_size < 0x8c {
        return (seconds, 0);
    }
    let extra = u32_at(raw, 0x88);
    let nanoseconds = (extra >> 2).min(999_999_999);
    (seconds + (i64::from(extra & EPOCH_BITS) << 32), nanoseconds)
}
