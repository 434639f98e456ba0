//! The abilities by which a spec and a backend are compared.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that a machine may need and a backend may offer.
///
/// Every optional wish in a [`MachineSpec`](crate::MachineSpec) maps to one of these, and
/// every one of these is exercised by a conformance case.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Feature {
    /// Boots an uncompressed ELF kernel with a PVH entry point.
    BootVmlinux,
    /// Boots a compressed kernel by the 64-bit Linux boot protocol.
    BootBzimage,
    /// Attaches a block device that the guest can write to.
    Disk,
    /// Attaches a block device that refuses the guest's writes.
    ReadOnlyDisk,
    /// Carries connections between guest and host over a hybrid Unix socket.
    Vsock,
    /// Gives the guest a source of entropy.
    Rng,
    /// Gives the guest a network whose way out are sockets of the host.
    UserNet,
    /// Runs more than one vCPU.
    MultipleVcpus,
    /// Keeps what the guest writes to its console.
    Console,
    /// Stops the vCPUs and lets them go on: `Machine::as_pause`.
    Pause,
    /// Makes machines that outlive the process that made them.
    Detached,
}

impl Feature {
    /// Every feature there is, for tests that must cover all of them.
    pub const ALL: &[Feature] = &[
        Feature::BootVmlinux,
        Feature::BootBzimage,
        Feature::Disk,
        Feature::ReadOnlyDisk,
        Feature::Vsock,
        Feature::Rng,
        Feature::UserNet,
        Feature::MultipleVcpus,
        Feature::Console,
        Feature::Pause,
        Feature::Detached,
    ];

    /// The name by which users and files know it.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::BootVmlinux => "boot-vmlinux",
            Feature::BootBzimage => "boot-bzimage",
            Feature::Disk => "disk",
            Feature::ReadOnlyDisk => "read-only-disk",
            Feature::Vsock => "vsock",
            Feature::Rng => "rng",
            Feature::UserNet => "user-net",
            Feature::MultipleVcpus => "multiple-vcpus",
            Feature::Console => "console",
            Feature::Pause => "pause",
            Feature::Detached => "detached",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for feature in Feature::ALL {
            let wire = serde_json::to_value(feature).unwrap();
            assert_eq!(wire, feature.name());
        }
    }
}
