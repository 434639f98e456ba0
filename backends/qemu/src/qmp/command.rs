//! The commands that are used. They are older than any QEMU that is supported.

use qapi::qmp::QmpCommand;
use qapi::{Any, Command};
use serde::{Deserialize, Serialize};

macro_rules! command {
    ($(#[$doc:meta])* $type:ident, $name:literal, $ok:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Serialize)]
        pub(crate) struct $type {}

        impl Command for $type {
            type Ok = $ok;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }

        impl QmpCommand for $type {}
    };
}

command!(
    /// Lets the vCPUs run.
    Cont, "cont", Any
);
command!(
    /// Stops the vCPUs.
    Stop, "stop", Any
);
command!(
    /// Asks where the machine is in its life.
    QueryStatus, "query-status", RunStatus
);

/// The part of a reply to `query-status` that all versions share.
#[derive(Debug, Deserialize)]
pub(crate) struct RunStatus {
    /// A name of QEMU's `RunState`.
    pub(crate) status: String,
}
