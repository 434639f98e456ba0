//! Numbers of the block device: virtio 1.2, section 5.2.

/// Bytes of a sector, the unit of every number of the protocol (5.2.4), whatever the size of
/// a block is.
pub const SECTOR: u64 = 512;

/// Length of the header of a request (5.2.6): type, a reserved word, first sector.
pub const HEADER_LEN: usize = 16;
/// Length of a segment of a discard or a write of zeroes (5.2.6).
pub const SEGMENT_LEN: usize = 16;
/// `VIRTIO_BLK_ID_BYTES` (5.2.6): the longest serial number.
pub const ID_LEN: usize = 20;

/// Types of requests (5.2.6).
pub(crate) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
    pub(crate) const DISCARD: u32 = 11;
    pub(crate) const WRITE_ZEROES: u32 = 13;
}

/// `unmap` of a segment: the sectors may be given up (5.2.6).
pub(crate) const SEGMENT_UNMAP: u32 = 1;

/// Feature bits (5.2.3).
pub(crate) mod feature {
    pub(crate) const SEG_MAX: u64 = 1 << 2;
    pub(crate) const RO: u64 = 1 << 5;
    pub(crate) const BLK_SIZE: u64 = 1 << 6;
    pub(crate) const FLUSH: u64 = 1 << 9;
    pub(crate) const DISCARD: u64 = 1 << 13;
    pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
}

/// The longest that the queue can be: what fits [`MAX_SEGMENTS`] and two more.
pub(crate) const QUEUE_SIZE: u16 = 256;

/// `seg_max`: the most pieces of data of a request; header and status are two more.
pub(crate) const MAX_SEGMENTS: u32 = 254;

/// The most pieces of memory that the device takes for either direction of a request: a piece
/// of the driver that reaches over a hole of guest memory counts as several here, and header
/// and status are two.
pub(crate) const MAX_PIECES: usize = MAX_SEGMENTS as usize + 8;

/// `max_discard_seg` and `max_write_zeroes_seg`: few, as a segment is a system call that may
/// take its time.
pub(crate) const MAX_DISCARD_SEGMENTS: usize = 16;

/// `max_discard_sectors` and `max_write_zeroes_sectors`, of each segment: 1 GiB. No more, so
/// that none keeps other devices waiting for long.
pub(crate) const MAX_DISCARD_SECTORS: u32 = 1 << 21;

/// `discard_sector_alignment`: 4096 bytes, what file systems give up at once.
pub(crate) const DISCARD_ALIGNMENT: u32 = 8;
