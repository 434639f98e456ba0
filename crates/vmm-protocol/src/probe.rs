//! What a host's KVM turned out to be.

use serde::{Deserialize, Serialize};

/// The outcome of running a guest of a few instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeReport {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// What runs a guest's code.
    pub verdict: ProbeVerdict,
    /// What shows it, in one sentence without a full stop: the instruction that failed, the
    /// ratio that was measured.
    pub evidence: String,
    /// How much longer the loop took in the guest than on the host, where that was measured.
    pub ratio: Option<f64>,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// What runs a guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeVerdict {
    /// The processor, on a host that is no guest itself.
    Hardware,
    /// The processor, on a host that is a guest itself.
    Nested,
    /// Software, in whole or for instructions that an ordinary kernel needs.
    Emulated,
    /// Nothing: there is no KVM that can be used.
    Unavailable,
}
