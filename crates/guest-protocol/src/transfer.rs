//! Files on their way from a guest: records in a stream of bytes; no I/O.
//!
//! A tree is sent as one record for each of its entries, a directory before what is in it, and
//! the last record is [`Record::End`]. A file's data follows it in pieces, each with its place,
//! so that holes are not sent. Whoever reads it was sent it by a guest: lengths have maxima, and
//! what the records say is to be believed in nothing.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | kind: 1 directory, 2 file, 3 symbolic link, 4 hard link, 5 left out, 6 data, 7 end |
//! | 1..4 | zero |
//! | 4..6 | length of the path beneath the tree's root, little-endian as all |
//! | 6..8 | length of the target of a link |
//! | 8..12 | permission bits; for data the number of bytes |
//! | 12..16 | nanoseconds of the modification time |
//! | 16..24 | seconds of it since 1970, signed; for data its offset |
//! | 24..32 | length of a file |
//!
//! Path, target and data follow the header.

/// Length of a record's header, in bytes.
pub const RECORD_LEN: usize = 32;
/// Longest path or target, in bytes: Linux's `PATH_MAX`, less the NUL.
pub const MAX_PATH: usize = 4095;
/// Most data in one record, in bytes.
pub const MAX_PIECE: usize = 256 << 10;

/// Modification time and permissions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryMeta {
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
}

/// The header of a record: what it is, and how much follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A directory.
    Directory {
        /// Length of its path.
        path: usize,
        /// Its metadata.
        meta: EntryMeta,
    },
    /// A regular file; data may follow.
    File {
        /// Length of its path.
        path: usize,
        /// Its metadata.
        meta: EntryMeta,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Length of its path.
        path: usize,
        /// Length of its target.
        target: usize,
        /// Its metadata.
        meta: EntryMeta,
    },
    /// Another name of a file that was sent before.
    HardLink {
        /// Length of its path.
        path: usize,
        /// Length of the path of that file.
        target: usize,
    },
    /// Something that is not sent: a device, a socket, a named pipe.
    LeftOut {
        /// Length of its path.
        path: usize,
    },
    /// A piece of the last file.
    Data {
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        length: usize,
    },
    /// Nothing follows.
    End,
}

/// A header that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A kind that does not exist, or bytes where none belong.
    #[error("a record of files that is none")]
    Malformed,
    /// More than a record may hold.
    #[error("a record of files with {length} bytes, at most {max} are allowed")]
    TooLong {
        /// As announced.
        length: usize,
        /// As allowed.
        max: usize,
    },
}

/// The fields as they stand in a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fields {
    kind: u8,
    path: usize,
    target: usize,
    mode: u32,
    nanoseconds: u32,
    seconds: i64,
    size: u64,
}

impl Record {
    /// The header's bytes. Lengths must be within their maxima; the peer refuses it otherwise.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let fields = self.fields();
        let mut bytes = [0; RECORD_LEN];
        bytes[0] = fields.kind;
        bytes[4..6].copy_from_slice(&(fields.path as u16).to_le_bytes());
        bytes[6..8].copy_from_slice(&(fields.target as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(&fields.mode.to_le_bytes());
        bytes[12..16].copy_from_slice(&fields.nanoseconds.to_le_bytes());
        bytes[16..24].copy_from_slice(&fields.seconds.to_le_bytes());
        bytes[24..32].copy_from_slice(&fields.size.to_le_bytes());
        bytes
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// [`TransferError`]; the stream is then of no more use.
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Result<Self, TransferError> {
        let fields = Fields::read(bytes);
        let meta = fields.meta();
        let Fields { kind, path, target, mode, nanoseconds: _, seconds, size } = fields;
        let record = match kind {
            1 => Self::Directory { path, meta },
            2 => Self::File { path, meta, size },
            3 => Self::Symlink { path, target, meta },
            4 => Self::HardLink { path, target },
            5 => Self::LeftOut { path },
            6 => Self::Data { offset: seconds.cast_unsigned(), length: mode as usize },
            7 => Self::End,
            _ => return Err(TransferError::Malformed),
        };
        let (length, max) = match record {
            Self::Data { length, .. } => (length, MAX_PIECE),
            _ => (path.max(target), MAX_PATH),
        };
        if length > max {
            return Err(TransferError::TooLong { length, max });
        }
        // Whatever this record has no use for is zero.
        if record.encode() == *bytes { Ok(record) } else { Err(TransferError::Malformed) }
    }

    fn fields(&self) -> Fields {
        let of = |kind, path, meta: EntryMeta| Fields {
            kind,
            path,
            mode: meta.mode,
            nanoseconds: meta.mtime.1,
            seconds: meta.mtime.0,
            ..Fields::default()
        };
        match *self {
            Self::Directory { path, meta } => of(1, path, meta),
            Self::File { path, meta, size } => Fields { size, ..of(2, path, meta) },
            Self::Symlink { path, target, meta } => Fields { target, ..of(3, path, meta) },
            Self::HardLink { path, target } => {
                Fields { target, ..of(4, path, EntryMeta::default()) }
            }
            Self::LeftOut { path } => of(5, path, EntryMeta::default()),
            Self::Data { offset, length } => {
                let meta = EntryMeta { mode: length as u32, mtime: (offset.cast_signed(), 0) };
                of(6, 0, meta)
            }
            Self::End => of(7, 0, EntryMeta::default()),
        }
    }
}

impl Fields {
    fn read(bytes: &[u8; RECORD_LEN]) -> Self {
        let two = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let four = |at: usize| {
            let mut field = [0; 4];
            field.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(field)
        };
        let eight = |at: usize| u64::from(four(at + 4)) << 32 | u64::from(four(at));
        Self {
            kind: bytes[0],
            path: two(4),
            target: two(6),
            mode: four(8),
            nanoseconds: four(12),
            seconds: eight(16).cast_signed(),
            size: eight(24),
        }
    }

    fn meta(&self) -> EntryMeta {
        EntryMeta { mode: self.mode, mtime: (self.seconds, self.nanoseconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: EntryMeta = EntryMeta { mode: 0o4755, mtime: (-5, 999_999_999) };

    fn check(record: Record, expect: Result<(), TransferError>) {
        let decoded = Record::decode(&record.encode());
        assert_eq!(decoded, expect.map(|()| record), "{record:?}");
    }

    #[test]
    fn records_round_trip_within_their_limits() {
        check(Record::Directory { path: 0, meta: META }, Ok(()));
        check(Record::File { path: MAX_PATH, meta: META, size: u64::MAX }, Ok(()));
        check(Record::Symlink { path: 1, target: MAX_PATH, meta: META }, Ok(()));
        check(Record::HardLink { path: 1, target: 2 }, Ok(()));
        check(Record::LeftOut { path: 3 }, Ok(()));
        check(Record::Data { offset: u64::MAX, length: MAX_PIECE }, Ok(()));
        check(Record::End, Ok(()));
        let too_long = |length, max| Err(TransferError::TooLong { length, max });
        check(Record::LeftOut { path: MAX_PATH + 1 }, too_long(MAX_PATH + 1, MAX_PATH));
        check(Record::HardLink { path: 1, target: 5000 }, too_long(5000, MAX_PATH));
        let length = MAX_PIECE + 1;
        check(Record::Data { offset: 0, length }, too_long(length, MAX_PIECE));
    }

    #[test]
    fn what_is_written_down_nowhere_is_refused() {
        for (at, byte) in [(0, 0), (0, 8), (1, 1), (3, 1), (6, 1), (24, 1)] {
            let mut bytes = Record::Directory { path: 1, meta: META }.encode();
            bytes[at] = byte;
            assert_eq!(Record::decode(&bytes), Err(TransferError::Malformed), "{at}");
        }
    }
}
