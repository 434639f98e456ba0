//! Numbers on which both sides agree.

use std::time::Duration;

/// Version of the protocol: the `protocol` of every request and answer.
pub const VERSION: u32 = 1;

/// Longest request, in bytes. A machine with every disk that any backend has takes a
/// thousandth of it.
pub const MAX_REQUEST: u64 = 1 << 20;

/// Longest answer, in bytes.
pub const MAX_ANSWER: u64 = 1 << 20;

/// Longest time for which one request waits for a machine's end. Who waits longer asks
/// again.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// Number of the descriptor under which `create` is given the read end of the life pipe of
/// an attached machine.
pub const LIFE_FD: i32 = 3;
