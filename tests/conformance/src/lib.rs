//! The backends that are judged by `microagent-conformance`, wired up.
//!
//! `tests/conformance.rs` runs every case over each of them; `tests/mutants.rs` shows that
//! the cases notice backends that do not keep to the contract. `tests/distribution` boots what
//! a distribution packages.

mod cloud_hypervisor;
mod distribution;
mod external;
mod fake;
mod host;
mod judge;
mod kvm;
mod modules;
mod qemu;
mod recording;
mod unconnected;
mod wired;

pub use distribution::Distribution;
pub use external::{External, LOAD, SERVE, external, faulty, served};
pub use fake::FakeGuests;
pub use judge::{judge, runtime};
pub use recording::record;
pub use wired::{Lacks, Wired, wired};
