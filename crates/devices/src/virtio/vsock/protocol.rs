//! Numbers of the socket device: virtio 1.2, section 5.10.

/// The context id of the host (5.10.4, and `VMADDR_CID_HOST`).
pub const HOST_CID: u64 = 2;

/// Index of the queue whose buffers the device fills (5.10.2).
pub const QUEUE_RX: usize = 0;
/// Index of the queue whose buffers the driver fills (5.10.2).
pub const QUEUE_TX: usize = 1;

/// Length of `struct virtio_vsock_hdr` (5.10.6), in bytes.
pub const HEADER_LEN: usize = 44;

/// `VIRTIO_VSOCK_TYPE_STREAM` (5.10.6).
pub(crate) const TYPE_STREAM: u16 = 1;

/// Operations (5.10.6).
pub(crate) mod op {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const RESPONSE: u16 = 2;
    pub(crate) const RST: u16 = 3;
    pub(crate) const SHUTDOWN: u16 = 4;
    pub(crate) const RW: u16 = 5;
    pub(crate) const CREDIT_UPDATE: u16 = 6;
    pub(crate) const CREDIT_REQUEST: u16 = 7;
}

/// The sender of a shutdown receives no more (5.10.6.6).
pub(crate) const SHUTDOWN_RECEIVE: u32 = 1;
/// The sender of a shutdown sends no more (5.10.6.6).
pub(crate) const SHUTDOWN_SEND: u32 = 2;
/// Both.
pub(crate) const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// The most data that a packet carries here, in bytes: what Linux makes at most.
pub(crate) const MAX_DATA: u32 = 64 << 10;
