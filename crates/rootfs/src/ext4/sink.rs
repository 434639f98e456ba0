//! Where mkext4's metadata goes: gathered into large writes, free space left
//! as a hole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::RegionSink;
use mkext4::spec::Superblock;

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Offset and size of the superblock.
const SUPERBLOCK: std::ops::Range<usize> = 1024..2048;

pub(super) struct MetadataSink<'f> {
    out: &'f File,
    buffer: Vec<u8>,
    starts_at: u64,
    free_blocks: u64,
}

impl<'f> MetadataSink<'f> {
    pub(super) fn new(out: &'f File) -> Self {
        Self { out, buffer: Vec::with_capacity(BUFFER), starts_at: 0, free_blocks: 0 }
    }

    /// Writes what is left and gives the superblock's count of free blocks.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.free_blocks)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all_at(&self.buffer, self.starts_at)?;
        self.buffer.clear();
        Ok(())
    }
}

impl RegionSink for MetadataSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == 0
            && let Some(raw) = bytes.get(SUPERBLOCK)
        {
            let superblock = Superblock::decode(raw).map_err(io::Error::other)?;
            self.free_blocks = superblock.free_blocks_count;
        }
        let continues = self.starts_at + self.buffer.len() as u64 == offset;
        if !continues || self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            self.starts_at = offset;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        // The file was given its length as one hole.
        Ok(())
    }
}
