//! How much of everything, and how long for everything.

use std::time::Duration;

/// How long the processes of a machine may take until all is built: the guest's memory may be
/// large and its kernel on a slow disk.
pub(crate) const BUILD_WITHIN: Duration = Duration::from_secs(30);
/// How long a reply may take of a monitor that has built its machine.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Longest message of the monitor's that is quoted, in bytes.
pub(crate) const MAX_MESSAGE: usize = 1 << 10;
/// Longest name of a device, in bytes.
pub(crate) const MAX_DEVICE_NAME: usize = 64;
