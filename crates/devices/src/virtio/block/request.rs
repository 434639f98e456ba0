//! What a request says: bytes to a checked request, nothing else.

use super::protocol::{
    HEADER_LEN, ID_LEN, MAX_DISCARD_SECTORS, MAX_DISCARD_SEGMENTS, SECTOR, SEGMENT_LEN,
    SEGMENT_UNMAP, kind,
};

/// What there is to a request beside its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes that the device reads, those of the header not among them.
    pub readable: usize,
    /// Bytes that the device writes, the one of the status not among them.
    pub writable: usize,
}

/// What a request is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its length, in sectors.
    pub sectors: u64,
    /// Whether it is not written to.
    pub read_only: bool,
}

/// A request that this disk can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Fill all that is writable from this byte on.
    Read {
        /// Offset in bytes.
        offset: u64,
    },
    /// Write all that is readable to this byte and on.
    Write {
        /// Offset in bytes.
        offset: u64,
    },
    /// Make all that was written last.
    Flush,
    /// Tell the serial number.
    GetId,
    /// Give up, or fill with zeroes, what the segments name.
    Clear {
        /// Which of the two.
        how: Clear,
        /// How many segments there are to read.
        segments: usize,
    },
}

/// What is done to a range of sectors without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// They may hold anything afterwards.
    Discard,
    /// They are zero afterwards.
    WriteZeroes,
}

/// A range of the disk to give up or to fill with zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes, not 0.
    pub len: u64,
    /// Whether the host may give up the room that it takes.
    pub unmap: bool,
}

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Of a type, or with a flag, that this device does not have.
    Unsupported,
    /// It changes a disk that is read-only.
    ReadOnly,
    /// No driver in its senses makes it: past the end, not of whole sectors, more than was
    /// said that there may be, memory in the wrong direction.
    Malformed,
}

/// Reads a request and checks it.
///
/// # Errors
/// Why it is not done.
pub fn parse(header: &[u8; HEADER_LEN], shape: Shape, disk: Disk) -> Result<Request, Refusal> {
    let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = *header;
    let sector = u64::from_le_bytes(sector);
    match u32::from_le_bytes([k0, k1, k2, k3]) {
        kind::IN => {
            let offset = range(sector, shape.writable as u64, disk)?;
            only(shape.readable == 0, Request::Read { offset })
        }
        kind::OUT => {
            writable(disk)?;
            let offset = range(sector, shape.readable as u64, disk)?;
            only(shape.writable == 0, Request::Write { offset })
        }
        kind::FLUSH => only(shape == Shape { readable: 0, writable: 0 }, Request::Flush),
        kind::GET_ID => only(shape == Shape { readable: 0, writable: ID_LEN }, Request::GetId),
        kind::DISCARD => clear(Clear::Discard, shape, disk),
        kind::WRITE_ZEROES => clear(Clear::WriteZeroes, shape, disk),
        _ => Err(Refusal::Unsupported),
    }
}

/// Reads a segment of a discard or a write of zeroes and checks it.
///
/// # Errors
/// Why nothing of the request is done.
pub fn parse_segment(
    bytes: &[u8; SEGMENT_LEN],
    how: Clear,
    disk: Disk,
) -> Result<Segment, Refusal> {
    let [sector @ .., c0, c1, c2, c3, f0, f1, f2, f3] = *bytes;
    let count = u32::from_le_bytes([c0, c1, c2, c3]);
    let flags = u32::from_le_bytes([f0, f1, f2, f3]);
    let known = match how {
        Clear::Discard => 0,
        Clear::WriteZeroes => SEGMENT_UNMAP,
    };
    if flags & !known != 0 {
        return Err(Refusal::Unsupported);
    }
    if count > MAX_DISCARD_SECTORS {
        return Err(Refusal::Malformed);
    }
    let len = u64::from(count) * SECTOR;
    let offset = range(u64::from_le_bytes(sector), len, disk)?;
    Ok(Segment { offset, len, unmap: how == Clear::Discard || flags & SEGMENT_UNMAP != 0 })
}

fn clear(how: Clear, shape: Shape, disk: Disk) -> Result<Request, Refusal> {
    writable(disk)?;
    let segments = shape.readable / SEGMENT_LEN;
    let whole = shape.readable.is_multiple_of(SEGMENT_LEN) && shape.writable == 0;
    let few = (1..=MAX_DISCARD_SEGMENTS).contains(&segments);
    only(whole && few, Request::Clear { how, segments })
}

/// Where a range of whole sectors, at least one, begins, in bytes.
fn range(sector: u64, len: u64, disk: Disk) -> Result<u64, Refusal> {
    let whole = len > 0 && len.is_multiple_of(SECTOR);
    let end = sector.checked_add(len / SECTOR).filter(|end| *end <= disk.sectors);
    let offset = end.and_then(|_| sector.checked_mul(SECTOR)).filter(|_| whole);
    offset.ok_or(Refusal::Malformed)
}

fn writable(disk: Disk) -> Result<(), Refusal> {
    if disk.read_only { Err(Refusal::ReadOnly) } else { Ok(()) }
}

fn only(well_formed: bool, request: Request) -> Result<Request, Refusal> {
    if well_formed { Ok(request) } else { Err(Refusal::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const DISK: Disk = Disk { sectors: 100, read_only: false };

    fn header(kind: u32, sector: u64) -> [u8; HEADER_LEN] {
        let mut header = [0xee; HEADER_LEN];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        header
    }

    fn segment(sector: u64, count: u32, flags: u32) -> [u8; SEGMENT_LEN] {
        let mut segment = [0; SEGMENT_LEN];
        segment[..8].copy_from_slice(&sector.to_le_bytes());
        segment[8..12].copy_from_slice(&count.to_le_bytes());
        segment[12..].copy_from_slice(&flags.to_le_bytes());
        segment
    }

    #[test]
    fn requests() {
        let check = |kind, sector, readable, writable, expect| {
            let shape = Shape { readable, writable };
            assert_eq!(parse(&header(kind, sector), shape, DISK), expect, "{kind} {sector}");
        };
        let malformed = Err(Refusal::Malformed);
        check(kind::IN, 3, 0, 512, Ok(Request::Read { offset: 1536 }));
        check(kind::IN, 0, 0, 51200, Ok(Request::Read { offset: 0 }));
        check(kind::IN, 0, 0, 51201, malformed);
        check(kind::IN, 0, 0, 51712, malformed);
        check(kind::IN, 99, 0, 512, Ok(Request::Read { offset: 99 * 512 }));
        check(kind::IN, 100, 0, 512, malformed);
        check(kind::IN, 0, 0, 0, malformed);
        check(kind::IN, 0, 512, 0, malformed);
        check(kind::IN, 0, 512, 512, malformed);
        check(kind::IN, u64::MAX, 0, 512, malformed);
        check(kind::IN, u64::MAX / 512 + 1, 0, 512, malformed);
        check(kind::OUT, 1, 1024, 0, Ok(Request::Write { offset: 512 }));
        check(kind::OUT, 1, 1024, 1, malformed);
        check(kind::OUT, 1, 100, 0, malformed);
        check(kind::OUT, 99, 1024, 0, malformed);
        check(kind::FLUSH, 7, 0, 0, Ok(Request::Flush));
        check(kind::FLUSH, 0, 512, 0, malformed);
        check(kind::GET_ID, 0, 0, 20, Ok(Request::GetId));
        check(kind::GET_ID, 0, 0, 19, malformed);
        check(kind::DISCARD, 0, 16, 0, Ok(Request::Clear { how: Clear::Discard, segments: 1 }));
        check(kind::DISCARD, 0, 0, 0, malformed);
        check(kind::DISCARD, 0, 17, 0, malformed);
        check(kind::DISCARD, 0, 17 * 16, 0, malformed);
        let zeroes = Request::Clear { how: Clear::WriteZeroes, segments: 16 };
        check(kind::WRITE_ZEROES, 0, 256, 0, Ok(zeroes));
        check(14, 0, 16, 0, Err(Refusal::Unsupported));
        check(u32::MAX, 0, 0, 0, Err(Refusal::Unsupported));
    }

    #[test]
    fn a_disk_that_is_read_only() {
        let disk = Disk { read_only: true, ..DISK };
        let check = |kind, readable, writable, expect| {
            let shape = Shape { readable, writable };
            assert_eq!(parse(&header(kind, 0), shape, disk), expect, "{kind}");
        };
        check(kind::IN, 0, 512, Ok(Request::Read { offset: 0 }));
        check(kind::FLUSH, 0, 0, Ok(Request::Flush));
        check(kind::OUT, 512, 0, Err(Refusal::ReadOnly));
        check(kind::DISCARD, 16, 0, Err(Refusal::ReadOnly));
        check(kind::WRITE_ZEROES, 16, 0, Err(Refusal::ReadOnly));
    }

    #[test]
    fn segments() {
        use Clear::{Discard, WriteZeroes};
        let check = |how, (sector, count, flags), expect| {
            let bytes = segment(sector, count, flags);
            assert_eq!(parse_segment(&bytes, how, DISK), expect, "{sector} {count} {flags}");
        };
        let range = |unmap| Ok(Segment { offset: 512, len: 1024, unmap });
        check(Discard, (1, 2, 0), range(true));
        check(Discard, (1, 2, 1), Err(Refusal::Unsupported));
        check(WriteZeroes, (1, 2, 0), range(false));
        check(WriteZeroes, (1, 2, 1), range(true));
        check(WriteZeroes, (1, 2, 2), Err(Refusal::Unsupported));
        check(Discard, (99, 2, 0), Err(Refusal::Malformed));
        check(Discard, (1, 0, 0), Err(Refusal::Malformed));
        check(Discard, (0, MAX_DISCARD_SECTORS + 1, 0), Err(Refusal::Malformed));
        check(Discard, (u64::MAX, u32::MAX, 0), Err(Refusal::Malformed));
    }

    proptest! {
        #[test]
        fn nothing_that_is_allowed_is_past_the_end(
            kind in 0u32..16, sector in any::<u64>(), low in any::<bool>(),
            readable in 0usize..100_000, writable in 0usize..100_000,
        ) {
            let sector = if low { sector % 128 } else { sector };
            let shape = Shape { readable, writable };
            let end = match parse(&header(kind, sector), shape, DISK) {
                Ok(Request::Read { offset }) => offset + writable as u64,
                Ok(Request::Write { offset }) => offset + readable as u64,
                _ => 0,
            };
            assert!(end <= DISK.sectors * SECTOR);
        }

        #[test]
        fn no_segment_is_past_the_end(bytes in any::<[u8; SEGMENT_LEN]>(), small in any::<bool>()) {
            let mut bytes = bytes;
            if small {
                bytes[1..8].fill(0);
                bytes[9..].fill(0);
            }
            if let Ok(segment) = parse_segment(&bytes, Clear::WriteZeroes, DISK) {
                assert!(segment.len > 0 && segment.offset + segment.len <= DISK.sectors * SECTOR);
            }
        }
    }
}
