//! Block devices of a machine.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A raw disk image that the guest sees as a virtio block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The serial number under which the guest finds it, whatever its device is called.
    pub id: DiskId,
    /// The image on the host; its length is a multiple of 512 bytes.
    pub path: PathBuf,
    /// Whether the guest may write to it.
    pub access: Access,
}

/// Whether a guest may write to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The device refuses writes.
    ReadOnly,
    /// The device accepts writes; the image is locked to this machine.
    ReadWrite,
}

/// The serial number of a disk: 1 to 20 characters of `a-z A-Z 0-9 - _`.
///
/// 20 bytes are what a virtio block device answers to `VIRTIO_BLK_T_GET_ID` (virtio 1.2,
/// 5.2.6); the alphabet is what needs no quoting on any hypervisor's command line.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-zA-Z0-9_-]{1,20}$"))]
pub struct DiskId(String);

impl DiskId {
    /// The longest serial number, in bytes.
    pub const MAX_LEN: usize = 20;

    /// Checks length and alphabet.
    ///
    /// # Errors
    /// [`InvalidDiskId`] with the text as it was given.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidDiskId> {
        let text = text.into();
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if fits && text.bytes().all(known) { Ok(Self(text)) } else { Err(InvalidDiskId(text)) }
    }

    /// The serial number.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be a disk's serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("disk id '{0}' must be 1 to 20 characters of a-z, A-Z, 0-9, '-' and '_'")]
pub struct InvalidDiskId(pub String);

impl TryFrom<String> for DiskId {
    type Error = InvalidDiskId;

    fn try_from(text: String) -> Result<Self, InvalidDiskId> {
        Self::new(text)
    }
}

impl From<DiskId> for String {
    fn from(id: DiskId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, valid: bool) {
        assert_eq!(DiskId::new(text).is_ok(), valid, "{text:?}");
    }

    #[test]
    fn ids_are_short_and_need_no_quoting() {
        check("root", true);
        check("data-1_B", true);
        check("exactly-20-character", true);
        check("exactly-21-characters", false);
        check("", false);
        check("a,b", false);
        check("a b", false);
        check("ä", false);
    }
}
