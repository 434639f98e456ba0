//! Frames: how messages and bytes share one connection.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the payload, little-endian |
//! | 4 | [`FRAME_VERSION`] |
//! | 5 | kind: 0 control, 1 stdin, 2 stdout, 3 stderr |
//! | 6..8 | zero |
//! | 8..12 | id of the command, little-endian; zero for control |
//!
//! A data frame without payload ends its stream.

use crate::Stream;

/// Version of the frame layout.
pub const FRAME_VERSION: u8 = 1;
/// Length of a header, in bytes.
pub const HEADER_LEN: usize = 12;
/// Longest payload of a control frame, in bytes: argument lists and environments of Linux
/// reach 2 MiB, images' are below 100 KiB.
pub const MAX_CONTROL: usize = 1 << 20;
/// Longest payload of a data frame, in bytes.
pub const MAX_DATA: usize = 64 << 10;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON message.
    Control,
    /// Bytes of a stream of a command.
    Data {
        /// Which stream.
        stream: Stream,
        /// Which command.
        id: u32,
    },
}

/// A header that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How much follows, in bytes, at most what the kind allows.
    pub len: usize,
}

/// A peer's header that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another frame layout.
    #[error("frame version {0}, expected {FRAME_VERSION}")]
    Version(u8),
    /// A kind that does not exist.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Reserved bytes or an id where none belongs.
    #[error("reserved bytes of a frame header are not zero")]
    Reserved,
    /// More than the kind allows.
    #[error("frame of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// As announced.
        len: usize,
        /// As allowed.
        max: usize,
    },
}

impl Header {
    /// The header's bytes. `len` must be within the kind's maximum; the peer refuses it
    /// otherwise.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let (kind, id) = match self.kind {
            Kind::Control => (0, 0),
            Kind::Data { stream: Stream::Stdin, id } => (1, id),
            Kind::Data { stream: Stream::Stdout, id } => (2, id),
            Kind::Data { stream: Stream::Stderr, id } => (3, id),
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        bytes[4] = FRAME_VERSION;
        bytes[5] = kind;
        bytes[8..12].copy_from_slice(&id.to_le_bytes());
        bytes
    }

    /// Reads and checks a peer's header.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is then of no more use.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, version, kind, r0, r1, i0, i1, i2, i3] = *bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let id = u32::from_le_bytes([i0, i1, i2, i3]);
        if version != FRAME_VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = match kind {
            0 => Kind::Control,
            1 => Kind::Data { stream: Stream::Stdin, id },
            2 => Kind::Data { stream: Stream::Stdout, id },
            3 => Kind::Data { stream: Stream::Stderr, id },
            other => return Err(FrameError::Kind(other)),
        };
        let max = if kind == Kind::Control { MAX_CONTROL } else { MAX_DATA };
        if r0 != 0 || r1 != 0 || (kind == Kind::Control && id != 0) {
            return Err(FrameError::Reserved);
        }
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        Ok(Self { kind, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut [u8; HEADER_LEN]), expect: Result<Header, FrameError>) {
        let header = Header { kind: Kind::Data { stream: Stream::Stdout, id: 7 }, len: 5 };
        let mut bytes = header.encode();
        change(&mut bytes);
        assert_eq!(Header::decode(&bytes), expect);
    }

    #[test]
    fn only_what_is_written_down_is_accepted() {
        let stream = |stream| Ok(Header { kind: Kind::Data { stream, id: 7 }, len: 5 });
        check(|_| (), stream(Stream::Stdout));
        check(|b| b[5] = 1, stream(Stream::Stdin));
        check(|b| b[5] = 3, stream(Stream::Stderr));
        check(|b| b[4] = 2, Err(FrameError::Version(2)));
        check(|b| b[5] = 4, Err(FrameError::Kind(4)));
        check(|b| b[6] = 1, Err(FrameError::Reserved));
        check(|b| b[5] = 0, Err(FrameError::Reserved));
        check(|b| b[2] = 2, Err(FrameError::TooLong { len: (2 << 16) + 5, max: MAX_DATA }));
    }
}
