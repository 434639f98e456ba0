//! Machines on QEMU's `microvm`, with KVM or without.
//!
//! [`QemuBackend`] finds a QEMU, says what it can do here, and makes machines of it. A
//! machine is three processes in one run directory: QEMU itself (the *monitor*), the
//! *guard* that started it, keeps its console and ends it, and the *vsock* process that
//! serves its vsock device over vhost-user. What QEMU is asked to do is a pure function of
//! the spec (`argv`); what it is told afterwards goes over QMP (`qmp`).
//!
//! Deliberately not here: a graceful stop, which is the guest agent's, and anything that
//! would need the guest to have ACPI.

mod acceleration;
mod argv;
mod backend;
mod build;
mod cache;
mod confinement;
mod conversation;
mod ending;
mod files;
mod identify;
mod limits;
mod locate;
mod machine;
mod options;
mod qmp;
mod ready;
mod slirp;
mod version;

pub use backend::QemuBackend;
pub use identify::identify;
pub use options::{Accel, QemuOptions, WayOut};
pub use version::QemuVersion;
