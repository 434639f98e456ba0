//! What a device counts.

/// Counters since the device was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Chains taken from the driver and given back.
    pub chains: u64,
    /// Frames of the guest that the host took.
    pub frames_from_guest: u64,
    /// Frames of the host that the guest got.
    pub frames_to_guest: u64,
    /// Bytes of the guest's frames that the host took.
    pub bytes_from_guest: u64,
    /// Bytes of the host's frames that the guest got.
    pub bytes_to_guest: u64,
    /// Frames of the guest that the host did not take: its end is gone, or it refused them.
    pub dropped_from_guest: u64,
    /// Frames of the host that are none, or too long for all of the guest's buffers.
    pub dropped_to_guest: u64,
    /// Chains and frames that no driver in its senses makes.
    pub malformed: u64,
}
