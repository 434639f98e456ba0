//! The smallest image that has something of everything: 64 blocks of 1 KiB. Made by hand, so that
//! each field of it can be made to lie; the fuzz target of the reader begins with it too.
//!
//! | block | what |
//! |---|---|
//! | 1, 2 | superblock, the one group's descriptor |
//! | 3, 4 | sixteen inodes of 128 bytes |
//! | 8, 9 | directories: the root (inode 2) and `d` (12) |
//! | 10, 11 | the content of `f` (11) and of `d/tree` (13) |
//! | 12 | the leaf of the extents of `d/tree` |
//! | 13 | the target of the link `long` (15) |
//! | 16..48 | the journal (8) |

/// Block size.
pub(crate) const BLOCK: usize = 1024;
/// First block of the journal.
pub(crate) const JOURNAL: usize = 16;

const BLOCKS: usize = 64;
const EXTENTS: u32 = 0x8_0000;

/// An image.
pub(crate) struct Sample(pub(crate) Vec<u8>);

impl Sample {
    /// One that does not lie.
    pub(crate) fn new() -> Self {
        let mut image = Self(vec![0; BLOCKS * BLOCK]);
        image.superblock();
        image.set32(2 * BLOCK + 0x8, 3);
        image.inode(2, 0o40755, 1024, EXTENTS).extents(2, 0, &[(0, 1, 8)]);
        image.inode(8, 0o100600, 32 * 1024, EXTENTS).extents(8, 0, &[(0, 32, JOURNAL as u64)]);
        image.inode(11, 0o100644, 1500, EXTENTS).extents(11, 0, &[(0, 1, 10), (1, 1, 11)]);
        image.inode(12, 0o40755, 1024, EXTENTS).extents(12, 0, &[(0, 1, 9)]);
        image.inode(13, 0o100644, 1024, EXTENTS).index(13, &[(0, 12)]);
        image.inode(14, 0o120777, 3, 0);
        image.set(Self::inode_at(14) + 0x28, b"d/f");
        image.inode(15, 0o120777, 100, EXTENTS).extents(15, 0, &[(0, 1, 13)]);
        image.names(8, &[(2, b"."), (2, b".."), (11, b"f"), (12, b"d"), (14, b"l"), (15, b"long")]);
        image.names(9, &[(12, b"."), (2, b".."), (13, b"tree"), (11, b"f")]);
        image.set(10 * BLOCK, &[b'a'; BLOCK]);
        image.set(11 * BLOCK, &[b'b'; BLOCK]);
        image.node(12 * BLOCK, 340, 0, 1);
        image.extent(12 * BLOCK, 0, (0, 1, 11));
        image.set(13 * BLOCK, &[b'x'; 100]);
        image
    }

    fn superblock(&mut self) {
        let fields = [
            (0x0, 16),            // inodes
            (0x4, BLOCKS as u32), // blocks
            (0x14, 1),            // first block
            (0x18, 0),            // blocks of 1 KiB
            (0x20, 8192),         // blocks in a group
            (0x28, 16),           // inodes in a group
            (0x38, 0xef53),       // magic
            (0x4c, 1),            // dynamic inode size
            (0x58, 128),          // which is
            (0x5c, 0x4),          // has a journal
            (0x60, 0x2 | 0x40),   // file types, extents
            (0xe0, 8),            // the journal's inode
        ];
        for (at, value) in fields {
            self.set32(BLOCK + at, value);
        }
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn set16(&mut self, at: usize, value: u16) {
        self.set(at, &value.to_le_bytes());
    }

    pub(crate) fn set32(&mut self, at: usize, value: u32) {
        self.set(at, &value.to_le_bytes());
    }

    /// Where an inode stands.
    pub(crate) fn inode_at(number: usize) -> usize {
        3 * BLOCK + (number - 1) * 128
    }

    pub(crate) fn inode(&mut self, number: usize, mode: u16, size: u64, flags: u32) -> &mut Self {
        let at = Self::inode_at(number);
        self.set16(at, mode);
        self.set32(at + 0x4, size as u32);
        self.set32(at + 0x6c, (size >> 32) as u32);
        self.set16(at + 0x1a, if number == 11 { 2 } else { 1 });
        self.set32(at + 0x20, flags);
        self
    }

    /// The header of a node of extents.
    pub(crate) fn node(&mut self, at: usize, room: u16, depth: u16, entries: u16) {
        for (n, value) in [0xf30a, entries, room, depth].into_iter().enumerate() {
            self.set16(at + 2 * n, value);
        }
    }

    /// An entry of a leaf: logical block, length, physical block.
    pub(crate) fn extent(
        &mut self,
        node: usize,
        n: usize,
        (logical, length, physical): (u32, u16, u64),
    ) {
        let at = node + 12 + 12 * n;
        self.set32(at, logical);
        self.set16(at + 4, length);
        self.set16(at + 6, (physical >> 32) as u16);
        self.set32(at + 8, physical as u32);
    }

    /// Extents in an inode.
    pub(crate) fn extents(&mut self, number: usize, depth: u16, list: &[(u32, u16, u64)]) {
        let node = Self::inode_at(number) + 0x28;
        self.node(node, 4, depth, list.len() as u16);
        for (n, extent) in list.iter().enumerate() {
            self.extent(node, n, *extent);
        }
    }

    /// An inode whose extents are in other blocks: first logical block, and where.
    pub(crate) fn index(&mut self, number: usize, list: &[(u32, u32)]) {
        let node = Self::inode_at(number) + 0x28;
        self.node(node, 4, 1, list.len() as u16);
        for (n, (logical, block)) in list.iter().enumerate() {
            let at = node + 12 + 12 * n;
            self.set32(at, *logical);
            self.set32(at + 4, *block);
            self.set32(at + 8, 0);
        }
    }

    /// A block of a directory.
    pub(crate) fn names(&mut self, block: usize, names: &[(u32, &[u8])]) {
        let end = (block + 1) * BLOCK;
        let mut at = block * BLOCK;
        for (n, (inode, name)) in names.iter().enumerate() {
            let length =
                if n + 1 == names.len() { end - at } else { (8 + name.len()).next_multiple_of(4) };
            self.set32(at, *inode);
            self.set16(at + 4, length as u16);
            self.0[at + 6] = name.len() as u8;
            self.set(at + 8, name);
            at += length;
        }
    }
}
