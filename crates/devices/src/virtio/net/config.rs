//! What the device is made with, and what the driver reads about it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::protocol::STATUS_LINK_UP;
use crate::virtio::config_space;

/// What a network device is made with.
#[derive(Debug)]
pub struct Config {
    /// The guest's address.
    pub mac: [u8; 6],
    /// The longest packet that the guest may send or get, in bytes, at least 68, where it is
    /// to be told: a guest uses it at once. None: it assumes 1500 until it learns of another.
    pub mtu: Option<u16>,
    /// Where its frames go.
    pub host: HostEnd,
}

/// The host end of a network device. It is made non-blocking.
#[derive(Debug)]
pub enum HostEnd {
    /// A stream socket on which each frame follows its length, 4 bytes in network order: what
    /// passt and QEMU's `-netdev stream` speak. When it ends, the guest's link is down.
    Stream(UnixStream),
    /// A tap device, opened with `IFF_NO_PI` and without `IFF_VNET_HDR`.
    Tap(OwnedFd),
}

/// `struct virtio_net_config` up to what this device has to say (5.1.4).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigSpace {
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: Option<u16>,
    pub(crate) link_is_up: bool,
}

impl ConfigSpace {
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        let mut space = [0; 12];
        space[..6].copy_from_slice(&self.mac);
        let status = if self.link_is_up { STATUS_LINK_UP } else { 0 };
        space[6..8].copy_from_slice(&status.to_le_bytes());
        // `max_virtqueue_pairs`, of which a driver reads nothing where it is not offered.
        space[8] = 1;
        space[10..].copy_from_slice(&self.mtu.unwrap_or_default().to_le_bytes());
        config_space::read(&space, offset, data);
    }
}
