//! What a device counts.

/// Counters since the device was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Packets taken from the guest.
    pub packets_from_guest: u64,
    /// Packets given to the guest.
    pub packets_to_guest: u64,
    /// Data taken from the guest, in bytes.
    pub bytes_from_guest: u64,
    /// Data given to the guest, in bytes.
    pub bytes_to_guest: u64,
    /// Connections that were opened, by either side.
    pub opened: u64,
    /// Connections that were refused, by either side, or because there were too many.
    pub refused: u64,
    /// Chains and packets that no driver in its senses makes.
    pub malformed: u64,
}
