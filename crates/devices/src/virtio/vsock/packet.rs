//! The header of a packet: bytes to fields and back, nothing else.

use super::protocol::{self, HEADER_LEN, HOST_CID, TYPE_STREAM, op};

/// `struct virtio_vsock_hdr`, as it stands in memory: unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Context id of the sender.
    pub src_cid: u64,
    /// Context id of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// How much data follows, in bytes.
    pub len: u32,
    /// Type of the socket.
    pub kind: u16,
    /// What the packet does.
    pub op: u16,
    /// More about what it does.
    pub flags: u32,
    /// How much the sender can hold for this connection, in bytes.
    pub buf_alloc: u32,
    /// How much the sender has passed on, in bytes, modulo 2^32.
    pub fwd_cnt: u32,
}

/// What a packet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a connection.
    Request,
    /// Accepts one.
    Response,
    /// Ends one, or refuses it.
    Reset,
    /// Says which directions the sender is done with.
    Shutdown,
    /// Carries data.
    Data,
    /// Says how much the sender can take.
    CreditUpdate,
    /// Asks how much the receiver can take.
    CreditRequest,
}

impl Header {
    /// Reads the fields.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Self {
        Self {
            src_cid: u64::from_le_bytes(at(bytes, 0)),
            dst_cid: u64::from_le_bytes(at(bytes, 8)),
            src_port: u32::from_le_bytes(at(bytes, 16)),
            dst_port: u32::from_le_bytes(at(bytes, 20)),
            len: u32::from_le_bytes(at(bytes, 24)),
            kind: u16::from_le_bytes(at(bytes, 28)),
            op: u16::from_le_bytes(at(bytes, 30)),
            flags: u32::from_le_bytes(at(bytes, 32)),
            buf_alloc: u32::from_le_bytes(at(bytes, 36)),
            fwd_cnt: u32::from_le_bytes(at(bytes, 40)),
        }
    }

    /// Writes the fields.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let Self { src_cid, dst_cid, src_port, dst_port, len, kind, op, flags, buf_alloc, fwd_cnt } =
            *self;
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&len.to_le_bytes());
        bytes[28..30].copy_from_slice(&kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&op.to_le_bytes());
        bytes[32..36].copy_from_slice(&flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&fwd_cnt.to_le_bytes());
        bytes
    }

    /// What the packet does, if it is one that exists.
    pub fn kind(&self) -> Option<Kind> {
        if self.kind != TYPE_STREAM || self.len > protocol::MAX_DATA {
            return None;
        }
        Some(match self.op {
            op::REQUEST => Kind::Request,
            op::RESPONSE => Kind::Response,
            op::RST => Kind::Reset,
            op::SHUTDOWN => Kind::Shutdown,
            op::RW => Kind::Data,
            op::CREDIT_UPDATE => Kind::CreditUpdate,
            op::CREDIT_REQUEST => Kind::CreditRequest,
            _ => return None,
        })
    }

    /// The packet that refuses this one, which a guest sent.
    pub(crate) fn refusal(&self) -> Self {
        Self {
            src_cid: HOST_CID,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: TYPE_STREAM,
            op: op::RST,
            ..Self::default()
        }
    }
}

fn at<const N: usize>(bytes: &[u8; HEADER_LEN], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let mut bytes = [0; HEADER_LEN];
        (0u8..).zip(bytes.iter_mut()).for_each(|(n, byte)| *byte = n);
        let header = Header::from_bytes(&bytes);
        assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(header.op, 0x1f1e);
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn what_exists() {
        let check = |kind, op, len, expect| {
            assert_eq!(Header { kind, op, len, ..Header::default() }.kind(), expect);
        };
        check(TYPE_STREAM, op::RW, protocol::MAX_DATA, Some(Kind::Data));
        check(TYPE_STREAM, op::RW, protocol::MAX_DATA + 1, None);
        check(2, op::RW, 0, None);
        check(TYPE_STREAM, 0, 0, None);
        check(TYPE_STREAM, 8, 0, None);
    }
}
