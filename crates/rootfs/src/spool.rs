//! Where file contents wait until the layout of the image is known: one
//! unnamed scratch file, every content at a block boundary.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::RootfsError;

/// Block size of the file systems that are written.
pub(crate) const BLOCK: u64 = 4096;

/// Bytes gathered before they are written: large enough that thousands of
/// small files cost hundreds of writes.
const BUFFER: usize = 1 << 20;

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Append-only scratch space that vanishes with this value.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    buffer: Vec<u8>,
    written: u64,
}

impl Spool {
    /// Opens scratch space on the file system that holds `out`.
    ///
    /// # Errors
    /// [`RootfsError::Io`] when no unnamed file can be made there.
    pub(crate) fn beside(out: &File) -> Result<Self, RootfsError> {
        let dir = directory_of(out);
        let file = unnamed_file(&dir)
            .or_else(|_| unnamed_file(&std::env::temp_dir()))
            .map_err(RootfsError::io(format!("making a scratch file in {}", dir.display())))?;
        Ok(Self { file, buffer: Vec::with_capacity(BUFFER), written: 0 })
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BUFFER - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Appends zeros, fewer than a block of them.
    pub(crate) fn append_zeros(&mut self, count: usize) -> io::Result<()> {
        self.append(&ZEROS[..count])
    }

    /// Fills up the block that was begun.
    pub(crate) fn align(&mut self) -> io::Result<()> {
        let over = (self.position() % BLOCK) as usize;
        if over == 0 { Ok(()) } else { self.append_zeros(BLOCK as usize - over) }
    }

    /// Ends writing and gives the file back for reading.
    pub(crate) fn into_file(mut self) -> io::Result<File> {
        self.align()?;
        self.flush()?;
        self.file.set_len(self.written)?;
        Ok(self.file)
    }

    fn flush(&mut self) -> io::Result<()> {
        write_sparse(&self.file, &self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes `bytes` at `offset`, leaving out blocks of zeros: the file must read
/// as zeros there already. `offset` is block-aligned.
pub(crate) fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let block = BLOCK as usize;
    let mut start = 0;
    while start < bytes.len() {
        let zeros = run_length(&bytes[start..], block, true);
        let data = run_length(&bytes[start + zeros..], block, false);
        let from = start + zeros;
        file.write_all_at(&bytes[from..from + data], offset + from as u64)?;
        start = from + data;
    }
    Ok(())
}

/// Length of the leading blocks that are all zeros, or that are not.
fn run_length(bytes: &[u8], block: usize, zeros: bool) -> usize {
    bytes
        .chunks(block)
        .take_while(|chunk| (**chunk == ZEROS[..chunk.len()]) == zeros)
        .map(<[u8]>::len)
        .sum()
}

fn directory_of(file: &File) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf))
        .unwrap_or_else(std::env::temp_dir)
}

pub(crate) fn unnamed_file(dir: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::TMPFILE.bits()).map_err(io::Error::other)?;
    let unnamed =
        OpenOptions::new().read(true).write(true).custom_flags(flags).mode(0o600).open(dir);
    // Not every file system knows O_TMPFILE; a name that is gone at once does too.
    unnamed.or_else(|_| {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = dir.join(format!(".microagent-spool-{}-{serial}", std::process::id()));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
        std::fs::remove_file(&name)?;
        Ok(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn contents_start_at_blocks_and_zeros_are_holes() {
        let dir = tempfile::tempdir().unwrap();
        let out = File::create(dir.path().join("out")).unwrap();
        let mut spool = Spool::beside(&out).unwrap();
        spool.append(b"one").unwrap();
        spool.align().unwrap();
        assert_eq!(spool.position(), BLOCK);
        spool.append(&vec![0; 3 << 20]).unwrap();
        spool.append(b"end").unwrap();
        let file = spool.into_file().unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), BLOCK + (3 << 20) + BLOCK);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut tail = [0; 3];
        file.read_exact_at(&mut tail, BLOCK + (3 << 20)).unwrap();
        assert_eq!(&tail, b"end");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no name is left");
    }
}
