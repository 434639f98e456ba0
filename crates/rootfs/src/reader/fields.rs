//! Little-endian fields of blocks whose length the caller has checked.

/// The 16 bits at `at`; zero where there are none.
pub(super) fn u16_at(raw: &[u8], at: usize) -> u16 {
    let bytes = raw.get(at..at + 2).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u16::from_le_bytes)
}

/// The 32 bits at `at`; zero where there are none.
pub(super) fn u32_at(raw: &[u8], at: usize) -> u32 {
    let bytes = raw.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

/// The 32 bits at `at` in the order of the journal, which is the network's.
pub(super) fn u32_be_at(raw: &[u8], at: usize) -> u32 {
    let bytes = raw.get(at..at + 4).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}
