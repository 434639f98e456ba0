//! What a machine counts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a machine has counted since it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineStats {
    /// One entry for each vCPU, in order.
    pub vcpus: Vec<VcpuStats>,
    /// One entry for each virtio device.
    pub devices: Vec<DeviceStats>,
    /// From the monitor's start until the first vCPU was let run; `None` before that.
    pub start: Option<Duration>,
}

/// What a vCPU was stopped by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VcpuStats {
    /// All exits from the guest; `None` where nobody counts them.
    pub exits: Option<u64>,
    /// Exits to the monitor for an access to a port.
    pub io: u64,
    /// Exits to the monitor for an access to a device's memory.
    pub mmio: u64,
}

/// What a device did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceStats {
    /// What it is, such as `block:root` or `vsock`.
    pub name: String,
    /// Requests that it was given and answered.
    pub requests: u64,
    /// Bytes taken from the guest.
    pub bytes_from_guest: u64,
    /// Bytes given to the guest.
    pub bytes_to_guest: u64,
    /// Requests that make no sense, which no driver in its senses makes.
    pub malformed: u64,
}
