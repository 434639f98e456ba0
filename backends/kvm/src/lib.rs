//! Machines on the native monitor, `microagent-vmm run`.
//!
//! [`KvmBackend`] finds out what KVM is here and makes machines on it. A machine is two
//! processes in one run directory: the *monitor* and the *guard* that started it, keeps its
//! console and ends it. What the monitor is asked to be is a pure function of the spec
//! (`translate`); what it is told afterwards goes over its control socket (`client`), to
//! which anybody may connect who can reach the run directory.
//!
//! Deliberately not here: a graceful stop, which is the guest agent's, and devices, which
//! are the monitor's.

mod acceleration;
mod backend;
mod build;
mod client;
mod confinement;
mod ending;
mod files;
mod limits;
mod machine;
mod options;
mod refusal;
mod stats;
mod translate;

pub use backend::KvmBackend;
pub use options::{Emulated, KvmOptions};
