//! What a process may still do: Landlock, resource limits and no new privileges.
//!
//! Mechanism only. Which process may do what, and in which order it is confined, is said
//! where the process is written. Everything with "restrict" or "apply" in its name holds for
//! the calling thread and what it starts later, so it belongs before the first further
//! thread, and none of it can be taken back.

mod landlock;
mod limits;

pub use crate::landlock::{LandlockError, Rules, Ruleset, Signals};
pub use crate::limits::{Limits, forbid_new_privileges};
