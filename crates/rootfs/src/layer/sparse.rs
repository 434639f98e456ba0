//! Sparse files: where their data lies. Old GNU headers and the three PAX
//! forms (0.0, 0.1, 1.0) of GNU tar.

use super::header;
use super::pax::decimal;
use crate::fault::{Fault, within};
use crate::limits::{FILE_MAX, Limits};

/// A run of data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where a sparse file's data lies, in ascending order, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) segments: Vec<Segment>,
    pub(crate) size: u64,
}

impl SparseMap {
    /// Checks order, overlap and bounds, and that the archive holds exactly the
    /// `stored` bytes that the segments need.
    pub(super) fn checked(segments: Vec<Segment>, size: u64, stored: u64) -> Result<Self, Fault> {
        if size > FILE_MAX {
            return Err(Fault::Limit { what: "bytes in a file", limit: FILE_MAX });
        }
        let mut end = 0;
        let mut data = 0u64;
        for segment in &segments {
            let after = segment.offset.checked_add(segment.length).ok_or_else(malformed)?;
            if segment.offset < end || after > size {
                return Err(malformed());
            }
            end = after;
            data += segment.length;
        }
        if data != stored {
            return Err(malformed());
        }
        let segments = segments.into_iter().filter(|s| s.length > 0).collect();
        Ok(Self { segments, size })
    }
}

/// Old GNU: four segments in the header, more in blocks of 21 after it.
#[derive(Debug, Default)]
pub(super) struct OldGnu {
    segments: Vec<Segment>,
}

impl OldGnu {
    /// Takes the segments of one table: 24 bytes each, ended by an empty one.
    pub(super) fn table(&mut self, table: &[u8], limits: &Limits) -> Result<(), Fault> {
        for entry in table.as_chunks::<24>().0 {
            if entry[0] == 0 || entry[12] == 0 {
                break;
            }
            let offset = header::unsigned(&entry[..12], "sparse offset")?;
            let length = header::unsigned(&entry[12..], "sparse length")?;
            push(&mut self.segments, Segment { offset, length }, limits)?;
        }
        Ok(())
    }

    pub(super) fn finish(self, size: u64, stored: u64) -> Result<SparseMap, Fault> {
        SparseMap::checked(self.segments, size, stored)
    }
}

/// Keys under `GNU.sparse.`.
#[derive(Debug, Clone, Copy)]
pub(super) enum SparseKey {
    Major,
    Name,
    Size,
    Offset,
    NumBytes,
    Map,
}

impl SparseKey {
    /// `None` for those that only repeat what is known anyway.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"major" => Self::Major,
            b"name" => Self::Name,
            b"size" | b"realsize" => Self::Size,
            b"offset" => Self::Offset,
            b"numbytes" => Self::NumBytes,
            b"map" => Self::Map,
            _ => return None,
        })
    }
}

/// What the PAX header of a sparse file says.
#[derive(Debug, Default)]
pub(crate) struct PaxSparse {
    major: u64,
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    pending_offset: Option<u64>,
    segments: Vec<Segment>,
}

impl PaxSparse {
    pub(super) fn record(
        &mut self,
        key: SparseKey,
        value: &[u8],
        limits: &Limits,
    ) -> Result<(), Fault> {
        match key {
            SparseKey::Major => self.major = decimal(value)?,
            SparseKey::Name => self.name = Some(value.to_vec()),
            SparseKey::Size => self.size = Some(decimal(value)?),
            SparseKey::Offset => self.pending_offset = Some(decimal(value)?),
            SparseKey::NumBytes => {
                let offset = self.pending_offset.take().ok_or_else(malformed)?;
                let length = decimal(value)?;
                push(&mut self.segments, Segment { offset, length }, limits)?;
            }
            SparseKey::Map => {
                self.segments.clear();
                let mut numbers = value.split(|&b| b == b',');
                while let Some(offset) = numbers.next() {
                    let offset = decimal(offset)?;
                    let length = decimal(numbers.next().ok_or_else(malformed)?)?;
                    push(&mut self.segments, Segment { offset, length }, limits)?;
                }
            }
        }
        Ok(())
    }

    /// Which form this is, if the file is sparse at all.
    pub(super) fn form(&self) -> Result<Option<Form>, Fault> {
        match (self.major, self.size) {
            (0, None) => Ok(None),
            (0, Some(size)) => Ok(Some(Form::InHeader { size })),
            (1, Some(size)) => Ok(Some(Form::InBody { size })),
            _ => Err(malformed()),
        }
    }

    pub(super) fn take_segments(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments)
    }
}

/// Where the map of a sparse file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In the PAX header (0.0 and 0.1).
    InHeader { size: u64 },
    /// In front of the data: decimal lines, padded to a record (1.0).
    InBody { size: u64 },
}

/// Reads the map of form 1.0 byte by byte: the number of segments, then their
/// offsets and lengths.
#[derive(Debug, Default)]
pub(super) struct BodyMap {
    number: Option<u64>,
    expected: Option<u64>,
    offset: Option<u64>,
    segments: Vec<Segment>,
}

impl BodyMap {
    /// Takes a record; `true` when the map is complete and the rest of the
    /// record is padding.
    pub(super) fn record(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Fault> {
        for &byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    let number = self.number.unwrap_or(0);
                    let digit = u64::from(byte - b'0');
                    let number = number.checked_mul(10).and_then(|n| n.checked_add(digit));
                    self.number = Some(number.ok_or_else(malformed)?);
                }
                b'\n' => {
                    let number = self.number.take().ok_or_else(malformed)?;
                    if self.line(number, limits)? {
                        return Ok(true);
                    }
                }
                _ => return Err(malformed()),
            }
        }
        Ok(false)
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    fn line(&mut self, number: u64, limits: &Limits) -> Result<bool, Fault> {
        match (self.expected, self.offset) {
            (None, _) => self.expected = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(_), Some(offset)) => {
                self.offset = None;
                push(&mut self.segments, Segment { offset, length: number }, limits)?;
            }
        }
        Ok(self.offset.is_none() && self.expected == Some(self.segments.len() as u64))
    }
}

fn push(segments: &mut Vec<Segment>, one: Segment, limits: &Limits) -> Result<(), Fault> {
    segments.push(one);
    within(segments.len() as u64, limits.sparse_segments, "segments in a sparse file")
}

fn malformed() -> Fault {
    Fault::corrupt("the map of a sparse file is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)], size: u64, stored: u64) -> Option<usize> {
        let segments = pairs.iter().map(|&(offset, length)| Segment { offset, length }).collect();
        SparseMap::checked(segments, size, stored).ok().map(|m| m.segments.len())
    }

    #[test]
    fn maps_are_checked() {
        assert_eq!(map(&[(0, 10), (4096, 10)], 8192, 20), Some(2));
        assert_eq!(map(&[(0, 10), (8192, 0)], 8192, 10), Some(1), "an empty one marks the end");
        assert_eq!(map(&[], 1 << 40, 0), Some(0));
        assert_eq!(map(&[(0, 10), (5, 10)], 8192, 20), None, "overlap");
        assert_eq!(map(&[(4096, 1), (0, 1)], 8192, 2), None, "order");
        assert_eq!(map(&[(0, 10)], 5, 10), None, "past the end");
        assert_eq!(map(&[(0, 10)], 10, 9), None, "stored bytes differ");
        assert_eq!(map(&[(u64::MAX, 2)], 10, 2), None, "overflow");
        assert_eq!(map(&[], 1 << 50, 0), None, "larger than a file can be");
    }

    #[test]
    fn a_body_map_may_span_records() {
        let limits = Limits::default();
        let mut map = BodyMap::default();
        assert!(!map.record(b"2\n0\n51", &limits).unwrap());
        assert!(map.record(b"2\n4096\n512\n\0\0\0", &limits).unwrap());
        assert_eq!(
            map.into_segments(),
            [Segment { offset: 0, length: 512 }, Segment { offset: 4096, length: 512 }]
        );
        assert!(BodyMap::default().record(b"0\n", &limits).unwrap());
        assert!(BodyMap::default().record(b"x\n", &limits).is_err());
        assert!(BodyMap::default().record(b"\n", &limits).is_err());
    }
}
