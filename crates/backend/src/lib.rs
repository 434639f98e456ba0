//! The contract between the layers above and whatever runs a machine.
//!
//! [`Backend`] makes machines, [`Machine`] is one of them, [`Capabilities`] says what can be
//! asked for and [`admit`] is the only place that compares the two. The laws that every
//! implementation owes are in `docs/architecture.md` and are tested, case by case, by
//! `microagent-conformance`.
//!
//! Deliberately not here: namespaces, jailers, PCI paths, QMP. If a layer above seems to
//! need one of them, [`MachineSpec`](microagent_machine::MachineSpec) lacks a field.

mod admit;
mod capabilities;
mod console;
mod contract;
mod error;
mod exit;
mod image_locks;
mod isolation;
mod lifetime;
mod run_dir;
mod stats;
mod vsock;

pub use admit::{Rejection, admit};
pub use capabilities::{Acceleration, Capabilities, IsolationPlan, Limits, PowerOff};
pub use console::ConsoleLog;
pub use contract::{Backend, Machine, Pause, PowerButton, Stats};
pub use error::{Error, ErrorKind, Result};
pub use exit::{Exit, State};
pub use image_locks::{claim_for_reading, disk_in_use, image_in_use, lock_alone};
pub use isolation::{Isolation, ProcessIsolation};
pub use lifetime::Lifetime;
pub use run_dir::RunDir;
pub use stats::{DeviceStats, MachineStats, VcpuStats};
pub use vsock::VsockSocket;
