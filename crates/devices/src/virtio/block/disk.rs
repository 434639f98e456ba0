//! A request done: the file behind the disk.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate};
use vm_memory::GuestMemoryMmap;

use super::protocol::{ID_LEN, MAX_DISCARD_SEGMENTS, MAX_PIECES, SEGMENT_LEN};
use super::request::{self, Clear, Disk, Refusal, Request, Segment};
use crate::virtio::buffers::{BadChain, Both};
use crate::virtio::vectored::{MAX_VECTORS, Vectors};

const _: () = assert!(MAX_PIECES <= MAX_VECTORS);

/// The file, and what requests are checked against.
#[derive(Debug)]
pub(crate) struct Backing {
    pub(crate) file: File,
    pub(crate) disk: Disk,
    pub(crate) id: [u8; ID_LEN],
}

/// The memory of a request, header and status taken off, and room for the calls it takes.
pub(crate) struct Data<'m> {
    pub(crate) memory: Both<'m, GuestMemoryMmap>,
    pub(crate) vectors: Vectors<'m>,
}

impl Data<'_> {
    pub(crate) fn new() -> Self {
        Self { memory: Both::empty(), vectors: Vectors::new() }
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is none that this disk does.
    Refused(Refusal),
    /// The host failed.
    Host(io::Error),
    /// The host's file system cannot do it.
    HostUnsupported,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BadChain> for Failure {
    fn from(_: BadChain) -> Self {
        Self::Refused(Refusal::Malformed)
    }
}

impl Backing {
    /// Does a request, whole, and says how much data it moved, in bytes. After a failure any
    /// part of it may have been done, but for a refusal, after which none was.
    pub(crate) fn execute(&self, request: Request, data: &mut Data<'_>) -> Result<usize, Failure> {
        match request {
            Request::Read { offset } => {
                data.vectors.name(data.memory.writable.pieces());
                data.vectors.read_all_at(&self.file, offset)?;
                Ok(data.memory.writable.len())
            }
            Request::Write { offset } => {
                data.vectors.name(data.memory.readable.pieces());
                data.vectors.write_all_at(&self.file, offset)?;
                Ok(data.memory.readable.len())
            }
            Request::Flush => {
                self.file.sync_data()?;
                Ok(0)
            }
            Request::GetId => {
                data.memory.writable.copy_in(0, &self.id)?;
                Ok(ID_LEN)
            }
            Request::Clear { how, segments } => {
                let segments = self.segments(how, segments, data)?;
                segments.into_iter().flatten().try_for_each(|segment| self.clear(&segment))?;
                Ok(0)
            }
        }
    }

    /// All segments, each checked before any is done.
    fn segments(
        &self,
        how: Clear,
        count: usize,
        data: &mut Data<'_>,
    ) -> Result<[Option<Segment>; MAX_DISCARD_SEGMENTS], Failure> {
        let mut segments = [None; MAX_DISCARD_SEGMENTS];
        for segment in segments.iter_mut().take(count) {
            let bytes = data.memory.readable.read_front::<SEGMENT_LEN>()?;
            *segment = Some(request::parse_segment(&bytes, how, self.disk)?);
        }
        Ok(segments)
    }

    fn clear(&self, segment: &Segment) -> Result<(), Failure> {
        let how = match segment.unmap {
            true => FallocateFlags::PUNCH_HOLE,
            false => FallocateFlags::ZERO_RANGE,
        } | FallocateFlags::KEEP_SIZE;
        loop {
            match fallocate(&self.file, how, segment.offset, segment.len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP) => return Err(Failure::HostUnsupported),
                Err(error) => return Err(Failure::Host(error.into())),
            }
        }
    }
}
