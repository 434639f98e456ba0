//! Machines on Cloud Hypervisor.
//!
//! [`CloudHypervisorBackend`] finds a Cloud Hypervisor, says what it can do here, and makes
//! machines of it. A machine is two processes in one run directory: Cloud Hypervisor itself
//! (the *monitor*) and the *guard* that started it, keeps its console and ends it. What it is
//! asked to be is a pure function of the spec (`translate`); that and all else is told to it
//! over HTTP on a Unix socket (`api`), and since it ignores what it does not know, what it
//! made of the request is read back and compared (`accepted`).
//!
//! Cloud Hypervisor starts a guest that resets again, in place, and no option stops that. Two
//! things do, each by itself: the kernel is given to it by a link that is removed once it has
//! booted, so that a second boot finds none and fails; and its guard, which lives as long as
//! it does, kills it when its events say that it is about to.
//!
//! Deliberately not here: a graceful stop, which is the guest agent's.

mod acceleration;
mod accepted;
mod api;
mod backend;
mod build;
mod cache;
mod claim;
mod confinement;
mod ending;
mod files;
mod identify;
mod limits;
mod locate;
mod machine;
mod network;
mod options;
mod refusal;
mod stats;
mod translate;
mod version;
mod vm_config;

pub use backend::CloudHypervisorBackend;
pub use identify::identify;
pub use options::CloudHypervisorOptions;
pub use version::CloudHypervisorVersion;
