//! The maxima that untrusted layers are held to.

/// Maxima for the layers of one image, all layers together unless stated.
///
/// The defaults are an order of magnitude above the largest images in use and
/// small enough that hitting one costs minutes and gigabytes, not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Archive members, extension headers included.
    pub entries: u64,
    /// Inodes, directories that are only implied by a path included.
    pub inodes: u32,
    /// Blocks of 4 KiB that directories, long links and extended attributes
    /// take: the writer holds them in memory until the disk is laid out.
    pub metadata_blocks: u64,
    /// Uncompressed bytes.
    pub total_bytes: u64,
    /// Uncompressed bytes per compressed byte, in one layer.
    pub ratio: u64,
    /// Uncompressed bytes of one layer below which `ratio` does not apply:
    /// small layers of zeros compress a thousandfold and harm nobody.
    pub ratio_free_bytes: u64,
    /// Bytes of names, link targets, extended attributes and sparse maps: what
    /// is kept in memory per inode.
    pub metadata_bytes: u64,
    /// Bytes of one PAX extended header.
    pub pax_bytes: u64,
    /// Bytes of one path or link target; Linux's `PATH_MAX`.
    pub path_bytes: u64,
    /// Directories above a file.
    pub depth: u64,
    /// Extended attributes of one inode.
    pub xattrs: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: u64,
}

/// Longest file name, in bytes: ext4's and Linux's.
pub(crate) const NAME_MAX: usize = 255;

/// Most names one inode may have: ext4's `EXT4_LINK_MAX`.
pub(crate) const LINK_MAX: u32 = 65_000;

/// Largest file, in bytes: 2^32 blocks of 4 KiB, less one.
pub(crate) const FILE_MAX: u64 = ((1 << 32) - 1) * 4096;

/// Symbolic links followed while resolving one path; Linux's `MAXSYMLINKS`.
pub(crate) const SYMLINK_MAX: u32 = 40;

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            inodes: 1_000_000,
            metadata_blocks: 262_144,
            total_bytes: 64 << 30,
            ratio: 200,
            ratio_free_bytes: 1 << 30,
            metadata_bytes: 256 << 20,
            pax_bytes: 1 << 20,
            path_bytes: 4096,
            depth: 1024,
            xattrs: 128,
            sparse_segments: 65_536,
        }
    }
}
