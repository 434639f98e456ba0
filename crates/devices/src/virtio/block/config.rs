//! What the device is made with, and what the driver reads about it.

use std::fs::File;

use super::protocol::{DISCARD_ALIGNMENT, MAX_DISCARD_SECTORS, MAX_DISCARD_SEGMENTS, MAX_SEGMENTS};

/// What a block device is made with.
#[derive(Debug)]
pub struct Config {
    /// Its serial number, at most 20 bytes; also its name in statistics.
    pub id: String,
    /// The raw image, open for what the device does with it and locked as the caller sees fit.
    /// Its length, a multiple of 512, is the disk's.
    pub file: File,
    /// Whether the device refuses writes.
    pub read_only: bool,
}

/// Length of `struct virtio_blk_config` up to what this device has to say (5.2.4).
const LEN: usize = 60;
/// Bytes of a block: what guests read and write anyway, and every host's file can.
const BLOCK: u32 = 512;

/// `struct virtio_blk_config` (5.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigSpace([u8; LEN]);

impl ConfigSpace {
    pub(crate) fn new(sectors: u64) -> Self {
        let mut space = Self([0; LEN]);
        space.0[..8].copy_from_slice(&sectors.to_le_bytes());
        space.put(12, MAX_SEGMENTS);
        space.put(20, BLOCK);
        space.put(36, MAX_DISCARD_SECTORS);
        space.put(40, MAX_DISCARD_SEGMENTS as u32);
        space.put(44, DISCARD_ALIGNMENT);
        space.put(48, MAX_DISCARD_SECTORS);
        space.put(52, MAX_DISCARD_SEGMENTS as u32);
        // `write_zeroes_may_unmap`.
        space.0[56] = 1;
        space
    }

    fn put(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Reads from `offset` on; what is past the end is zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        super::super::config_space::read(&self.0, offset, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let space = ConfigSpace::new(0x0102_0304_0506);
        let check = |offset, expect: u32| {
            let mut bytes = [0xff; 4];
            space.read(offset, &mut bytes);
            assert_eq!(u32::from_le_bytes(bytes), expect, "at {offset}");
        };
        check(0, 0x0304_0506);
        check(4, 0x0102);
        check(8, 0);
        check(12, 254);
        check(20, 512);
        check(36, 1 << 21);
        check(40, 16);
        check(44, 8);
        check(48, 1 << 21);
        check(52, 16);
        check(56, 1);
        check(60, 0);
        check(u64::MAX, 0);
    }
}
