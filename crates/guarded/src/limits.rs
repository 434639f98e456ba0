//! How much of everything, and how long for everything.

use std::time::Duration;

/// How long a process that was killed may take to end: tearing down its memory.
pub const END_WITHIN: Duration = Duration::from_secs(10);
/// How long one process of a machine may outlive another that it cannot do without, and how
/// long the record of its end may take.
pub const FOLLOW_WITHIN: Duration = Duration::from_secs(2);

/// Longest record that is read from a run directory, in bytes.
pub const MAX_RECORD_LEN: u64 = 64 << 10;
/// How much of the end of a log is quoted in an error, in bytes.
pub(crate) const MAX_QUOTED_LOG: u64 = 1 << 10;
/// Most answers that a cache remembers.
pub(crate) const MAX_CACHED: usize = 16;

/// How long a program may take to say what it is.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How much of what it then prints is read, in bytes.
pub(crate) const MAX_ANSWER: u64 = 64 << 10;

/// How long finding out what KVM is may take: its guest's 2 s, and what a busy host adds.
pub(crate) const PROBE_WITHIN: Duration = Duration::from_secs(15);
/// How much of what it says is read, in bytes.
pub(crate) const MAX_PROBE_OUTPUT: u64 = 8 << 10;
/// Longest evidence, in bytes.
pub(crate) const MAX_EVIDENCE: usize = 1 << 10;
