//! The device model, with no hypervisor in sight.
//!
//! A device is given guest memory and virtqueues and does the rest; how the guest reaches its
//! queues (a vhost-user frontend, the registers of a monitor of our own) is said elsewhere.
//! Everything that comes out of guest memory is untrusted: it is read once, checked, then used.

pub mod bus;
pub mod fence;
pub mod serial;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vhost_user;
pub mod virtio;
