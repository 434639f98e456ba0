//! What confines the processes of a machine, as read from the system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is in force for all processes of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// One entry for each process.
    pub processes: Vec<ProcessIsolation>,
}

/// What is in force for one process, from `/proc/<pid>` and, for Landlock, from its own
/// report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessIsolation {
    /// What it is: `monitor`, `guard`, `vsock`.
    pub role: String,
    /// Its process id.
    pub pid: u32,
    /// `Seccomp:` of its status: 0 none, 1 strict, 2 filter; the lowest of its threads.
    pub seccomp: u8,
    /// `NoNewPrivs:` of its status.
    pub no_new_privs: bool,
    /// Whether it runs under a Landlock ruleset, by its own report; `None` where it cannot
    /// tell.
    pub landlock: Option<bool>,
    /// `CapEff:` of its status.
    pub effective_capabilities: u64,
    /// Its soft limit on file size in bytes; `None` is unlimited.
    pub max_file_size: Option<u64>,
}
