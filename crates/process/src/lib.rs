//! Processes of this host that are known by more than a number.
//!
//! A recorded process is found again, or known to be gone, by its number, when it started and
//! within which boot of the host; what is held is held by a descriptor. Deliberately not
//! here: what a process is started for, and what its end means.

mod boot;
mod process;
mod watched;

pub use boot::boot_id;
pub use process::{Process, ProcessId};
pub use watched::watched;
