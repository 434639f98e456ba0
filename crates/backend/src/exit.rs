//! Where a machine is in its life, and how it ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Built; no vCPU has run.
    Created,
    /// The vCPUs run.
    Running,
    /// The vCPUs are held, to go on later.
    Paused,
    /// It ended and will not run again.
    Stopped,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "reason", deny_unknown_fields)]
pub enum Exit {
    /// The guest powered itself off.
    PowerOff,
    /// The guest asked for a reset, or its processor shut down on a triple fault. Where
    /// [`PowerOff::Reset`](crate::PowerOff::Reset) is declared, this is also how an
    /// ordinary shutdown looks.
    Reset,
    /// The guest kernel panicked.
    Panic,
    /// `kill` or `destroy` ended it, or the end of its lifetime did.
    Killed,
    /// The monitor died although nobody asked.
    Crashed {
        /// How: the monitor's exit code or signal, and its last words.
        detail: String,
    },
}
