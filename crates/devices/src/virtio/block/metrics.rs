//! What a device counts.

/// Counters since the device was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Chains taken from the driver and given back.
    pub chains: u64,
    /// Reads that were done.
    pub reads: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Discards and writes of zeroes that were done.
    pub discards: u64,
    /// Data read from the disk, in bytes.
    pub bytes_read: u64,
    /// Data written to the disk, in bytes; zeroes that nobody sent are not among them.
    pub bytes_written: u64,
    /// Requests that this device does not do: of a type that it does not have, or writes where
    /// it is read-only.
    pub refused: u64,
    /// Requests that the host failed at.
    pub host_errors: u64,
    /// Chains and requests that no driver in its senses makes.
    pub malformed: u64,
}
