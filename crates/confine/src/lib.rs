//! What a process may still do: Landlock, seccomp, resource limits, no new privileges.
//!
//! Mechanism only. Which process may do what, and in which order it is confined, is said
//! where the process is written. Nothing here can be taken back. Landlock and no new
//! privileges hold for the calling thread and what it starts later, so they belong before the
//! first further thread; limits and filters hold for the process.

mod landlock;
mod limits;
mod seccomp;

pub use crate::landlock::{LandlockError, Rules, Ruleset, Signals, Tcp};
pub use crate::limits::{Limits, forbid_new_privileges};
pub use crate::seccomp::{Filter, NoFilter};
