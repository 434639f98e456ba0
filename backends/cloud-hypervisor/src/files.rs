//! The names of Cloud Hypervisor's own files in a run directory; all others are those of any
//! machine.

pub(crate) use microagent_guarded::files::{CONSOLE, VSOCK};

/// Where Cloud Hypervisor takes requests.
pub(crate) const API: &str = "api.sock";
/// A link to the kernel, until it has booted.
pub(crate) const KERNEL: &str = "kernel";

/// Where Cloud Hypervisor meets the process that serves the network device.
pub(crate) const NET: &str = "net.sock";
/// What that process has to say.
pub(crate) const NET_LOG: &str = "net.log";

/// All that this driver puts into a run directory beside what every machine has there.
pub(crate) const OWN: &[&str] = &[API, KERNEL, NET, NET_LOG];
