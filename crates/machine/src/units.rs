//! Quantities that must not be mixed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A size in mebibytes (2^20 bytes).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct MiB(pub u32);

impl MiB {
    /// The same size in bytes. Cannot overflow: 2^32 MiB are 2^52 bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

/// The vsock context id of a guest.
///
/// 0 to 2 are reserved (hypervisor, loopback, host) and 2^32-1 means "any", so a guest's
/// lies in between (virtio 1.2, 5.10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("minimum" = 3, "maximum" = 4_294_967_294_u32))]
pub struct Cid(u32);

impl Cid {
    /// The one that every machine gets: with hybrid vsock it names the guest on its own
    /// Unix socket only, so it need not be unique on the host.
    pub const GUEST: Cid = Cid(3);

    /// The number as the guest sees it.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A context id that no guest may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("vsock context id {0} is reserved: a guest's is 3 to 4294967294")]
pub struct InvalidCid(pub u32);

impl TryFrom<u32> for Cid {
    type Error = InvalidCid;

    fn try_from(value: u32) -> Result<Self, InvalidCid> {
        if (3..u32::MAX).contains(&value) { Ok(Self(value)) } else { Err(InvalidCid(value)) }
    }
}

impl From<Cid> for u32 {
    fn from(value: Cid) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_context_ids_are_refused() {
        for reserved in [0, 1, 2, u32::MAX] {
            assert_eq!(Cid::try_from(reserved), Err(InvalidCid(reserved)));
        }
        assert_eq!(Cid::try_from(3).map(Cid::get), Ok(3));
    }
}
