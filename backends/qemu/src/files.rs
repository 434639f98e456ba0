//! The names of QEMU's own files in a run directory; all others are those of any machine.

pub(crate) use microagent_guarded::files::{CONSOLE, VSOCK};

/// Where QEMU listens for whoever takes the machine up later.
pub(crate) const QMP: &str = "qmp.sock";
/// Where QEMU connects to whoever made the machine; gone once it has.
pub(crate) const OWNER: &str = "owner.sock";
/// Where QEMU's vsock device meets the process that serves it.
pub(crate) const VHOST: &str = "vhost.sock";
/// What the vsock process has to say.
pub(crate) const VSOCK_LOG: &str = "vsock.log";

/// All that this driver puts into a run directory beside what every machine has there.
pub(crate) const OWN: &[&str] = &[QMP, OWNER, VHOST, VSOCK_LOG];
