//! Numbers of the network device: virtio 1.2, section 5.1.

/// Index of the queue whose buffers the device fills (5.1.2).
pub const QUEUE_RX: usize = 0;
/// Index of the queue whose buffers the driver fills (5.1.2).
pub const QUEUE_TX: usize = 1;

/// The longest that each queue can be.
pub(crate) const QUEUE_SIZE: u16 = 256;

/// Length of `struct virtio_net_hdr` with `num_buffers` (5.1.6), which a driver of a modern
/// device always uses.
pub const HEADER_LEN: usize = 12;

/// The shortest frame: addresses and type.
pub const MIN_FRAME: usize = 14;
/// The longest frame: the longest IP packet, with addresses, type and a VLAN's tag.
pub const MAX_FRAME: usize = 65535 + 14 + 4;

/// The most pieces of memory of a frame of the guest: Linux makes 19 at most.
pub(crate) const MAX_TX_PIECES: usize = 64;
/// The most pieces of memory for a frame to the guest: each of a queue's chains, and some that
/// reach over a hole of guest memory, or are chains of several.
pub(crate) const MAX_RX_PIECES: usize = QUEUE_SIZE as usize * 4;

/// Feature bits (5.1.3).
pub(crate) mod feature {
    pub(crate) const MTU: u64 = 1 << 3;
    pub(crate) const MAC: u64 = 1 << 5;
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    pub(crate) const STATUS: u64 = 1 << 16;
}

/// `VIRTIO_NET_S_LINK_UP` (5.1.4).
pub(crate) const STATUS_LINK_UP: u16 = 1;
/// The least that `mtu` may be (5.1.4.1): what IPv4 asks of every link.
pub(crate) const MIN_MTU: u16 = 68;

/// The header of a frame to the guest that is whole, checked, and in `buffers` chains.
pub(crate) fn header_to_guest(buffers: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[10..].copy_from_slice(&buffers.to_le_bytes());
    header
}

/// Whether a frame of the guest is whole, with nothing left to do for the device: all else
/// was not offered (5.1.6.2.1).
pub(crate) fn is_plain(header: &[u8; HEADER_LEN]) -> bool {
    const NEEDS_CSUM: u8 = 1;
    const GSO_NONE: u8 = 0;
    let [flags, gso_type, ..] = *header;
    flags & NEEDS_CSUM == 0 && gso_type == GSO_NONE
}
