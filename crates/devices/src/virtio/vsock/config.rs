//! What the device is made with, and what the driver reads about it.

use std::os::unix::net::UnixListener;

/// What a vsock device is made with.
#[derive(Debug)]
pub struct Config {
    /// The guest's context id, above 2.
    pub guest_cid: u32,
    /// Path of the hybrid socket. With `_<port>` after it, it is where the guest's
    /// connections go, so it may be relative: a Unix socket's address is at most 107 bytes.
    pub socket: String,
    /// The listening socket at `socket`.
    pub listener: UnixListener,
}

/// `struct virtio_vsock_config` (5.10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigSpace([u8; 8]);

impl ConfigSpace {
    pub(crate) fn new(guest_cid: u32) -> Self {
        Self(u64::from(guest_cid).to_le_bytes())
    }

    /// The `len` bytes at `offset`, or nothing where they do not all exist.
    pub fn read(&self, offset: u32, len: u32) -> &[u8] {
        let from = offset as usize;
        let to = from.saturating_add(len as usize);
        self.0.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_that_exists() {
        let space = ConfigSpace::new(0x0403_0201);
        let check = |offset, len, expect: &[u8]| assert_eq!(space.read(offset, len), expect);
        check(0, 8, &[1, 2, 3, 4, 0, 0, 0, 0]);
        check(2, 3, &[3, 4, 0]);
        check(8, 0, &[]);
        check(1, 8, &[]);
        check(u32::MAX, u32::MAX, &[]);
    }
}
