//! The merged tree as an ext4 image, written by `mkext4`.
//!
//! mkext4 decides every block address once names and sizes are known, and
//! writes all metadata before any content. Contents then go to their addresses
//! straight from the spool: files are declared in the order in which they were
//! spooled, so that both sides are long runs.

mod acl;
mod geometry;
mod namespace;
mod sink;

pub(crate) use geometry::{Demand, Geometry, SMALLEST_MIB};

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::{InodeCount, Layout, Options};
use sha2::{Digest, Sha256};

use crate::RootfsError;
use crate::spool::{BLOCK, write_sparse};
use crate::tree::{Run, Tree};
use namespace::Declared;
use sink::MetadataSink;

/// Bytes moved from the spool to the image at a time.
const COPY_BUFFER: usize = 1 << 20;

/// Times in the superblock, and those of what the image does not describe.
const EPOCH: i64 = 0;

/// UUID and hash seed of a file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) uuid: [u8; 16],
    pub(crate) hash_seed: [u8; 16],
}

impl Identity {
    /// Derived from an image's digest, so that the same image has the same.
    pub(crate) fn of(image: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"microagent root disk 1\0");
        hasher.update(image.as_bytes());
        let (mut uuid, mut hash_seed) = ([0; 16], [0; 16]);
        for (to, from) in uuid.iter_mut().chain(&mut hash_seed).zip(hasher.finalize()) {
            *to = from;
        }
        // RFC 9562: version 8, "custom", variant 1.
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        Self { uuid, hash_seed }
    }

    fn hash_seed_words(&self) -> [u32; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.hash_seed.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        words
    }
}

/// A laid-out image: every address is decided, nothing is written.
pub(crate) struct Plan {
    layout: Layout,
    declared: Declared,
}

/// Lays `tree` out on a disk of `geometry`; `None` when it does not fit.
pub(crate) fn plan(
    tree: &Tree<'_>,
    geometry: &Geometry,
    identity: &Identity,
) -> Result<Option<Plan>, RootfsError> {
    let mut options = Options::new(geometry.blocks * BLOCK, identity.uuid, EPOCH);
    options.hash_seed = identity.hash_seed_words();
    options.inodes = InodeCount::Exact(geometry.inodes);
    options.reserved_percent = 0;
    let (builder, declared) = namespace::declare(tree, options)?;
    match builder.seal() {
        Ok(layout) => Ok(Some(Plan { layout, declared })),
        Err(mkext4::Error::Invalid(why)) if is_space(&why) => Ok(None),
        Err(error) => Err(unsupported(&error)),
    }
}

impl Plan {
    /// Writes all metadata to `out`, an empty file of the disk's length, and
    /// tells how many blocks stay free.
    pub(crate) fn write_metadata(&self, out: &File) -> Result<u64, RootfsError> {
        let mut sink = MetadataSink::new(out);
        self.layout.writer(&mut sink).map_err(|error| match error {
            mkext4::Error::Io(source) => {
                RootfsError::Io { doing: "writing the root disk".to_owned(), source }
            }
            other => unsupported(&other),
        })?;
        sink.finish().map_err(RootfsError::io("writing the root disk"))
    }

    /// Copies the contents from `spool` to where they belong in `out`. Returns
    /// how many bytes of content the image holds.
    pub(crate) fn write_contents(
        &self,
        tree: &Tree<'_>,
        spool: &File,
        out: &File,
    ) -> Result<u64, RootfsError> {
        let mut copy = Copier { spool, out, pending: None, buffer: vec![0; COPY_BUFFER] };
        let mut total = 0;
        for (handle, inode) in &self.declared.files {
            let runs = tree.runs(*inode);
            total += runs.iter().map(|run| run.length).sum::<u64>();
            copy.file(runs, &self.layout.extents(*handle))
                .map_err(RootfsError::io("writing file contents to the root disk"))?;
        }
        copy.flush().map_err(RootfsError::io("writing file contents to the root disk"))?;
        Ok(total)
    }
}

/// A stretch of the spool and where it goes.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: u64,
    to: u64,
    length: u64,
}

/// Joins neighbouring stretches before copying them.
struct Copier<'f> {
    spool: &'f File,
    out: &'f File,
    pending: Option<Stretch>,
    buffer: Vec<u8>,
}

impl Copier<'_> {
    /// One file: its spooled runs and its extents cover the same bytes in the
    /// same order, cut at different places.
    fn file(&mut self, runs: &[Run], extents: &[(u64, u64)]) -> io::Result<()> {
        let mut extents = extents.iter().copied();
        let mut extent = (0, 0);
        for run in runs {
            let mut done = 0;
            while done < run.length {
                if extent.1 == 0 {
                    extent = extents
                        .next()
                        .ok_or_else(|| io::Error::other("a file has fewer blocks than content"))?;
                }
                let now = extent.1.min(run.length - done);
                self.stretch(Stretch { from: run.spooled_at + done, to: extent.0, length: now })?;
                done += now;
                extent = (extent.0 + now, extent.1 - now);
            }
        }
        Ok(())
    }

    /// Contents are padded to blocks in the spool as in the image, so stretches
    /// are whole blocks.
    fn stretch(&mut self, stretch: Stretch) -> io::Result<()> {
        let length = stretch.length.next_multiple_of(BLOCK);
        match &mut self.pending {
            Some(last)
                if last.from + last.length == stretch.from
                    && last.to + last.length == stretch.to =>
            {
                last.length += length;
                Ok(())
            }
            _ => {
                self.flush()?;
                self.pending = Some(Stretch { length, ..stretch });
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(Stretch { mut from, mut to, mut length }) = self.pending.take() else {
            return Ok(());
        };
        while length > 0 {
            let now = usize::try_from(length).unwrap_or(usize::MAX).min(COPY_BUFFER);
            let piece = &mut self.buffer[..now];
            self.spool.read_exact_at(piece, from)?;
            write_sparse(self.out, piece, to)?;
            from += now as u64;
            to += now as u64;
            length -= now as u64;
        }
        Ok(())
    }
}

/// mkext4 reports lack of space by its text alone.
fn is_space(why: &str) -> bool {
    ["too small", "image full", "inodes needed", "contiguous inode table"]
        .iter()
        .any(|known| why.contains(known))
}

fn unsupported(error: &mkext4::Error) -> RootfsError {
    RootfsError::Unsupported {
        what: format!("the image cannot be written as ext4: {error}"),
        hint: "try --mke2fs with a mke2fs 1.47.1 or newer",
    }
}
