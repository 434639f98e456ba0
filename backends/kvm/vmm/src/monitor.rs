//! `run`: the native monitor, the process that a machine is.
//!
//! ```text
//!            start            pause
//! Created ──────────► Running ─────► Paused
//!                        ▲ ───────────┘
//!                           resume
//! ```
//! There is no request to end it: a monitor is killed, or ends with its guest. A request at
//! the wrong moment is refused and changes nothing.
//!
//! Its threads: `monitor` takes requests, `io` runs all devices, `vcpu0` and so on run the
//! guest. Nothing of a machine outlives the process, so nothing is taken down at its end.

mod build;
mod ending;
mod files;
mod gate;
mod io;
mod lock;
mod run;
mod state;

use std::process::ExitCode;
use std::time::Instant;

use microagent_vmm_protocol::{EXIT_POWER_OFF, EXIT_RESET};

use crate::allocator;
use crate::log::chain;
use crate::vcpu::End;

pub(crate) use self::ending::Ending;
pub(crate) use self::files::{DiskFile, Files};
pub(crate) use self::gate::Gate;
pub(crate) use self::io::IoThread;

/// Builds the machine that the specification describes, and serves it until it ends.
pub(crate) fn run() -> ExitCode {
    let began = Instant::now();
    allocator::share_one_heap();
    match build::build(began).map(run::Machine::serve) {
        Ok(Ok(End::PowerOff)) => ExitCode::from(EXIT_POWER_OFF),
        Ok(Ok(End::Reset)) => ExitCode::from(EXIT_RESET),
        Ok(Ok(End::Failed(why))) => failure(&why),
        Ok(Err(error)) => failure(&chain(&error)),
        Err(error) => failure(&chain(&error)),
    }
}

fn failure(why: &str) -> ExitCode {
    tracing::error!("{why}");
    ExitCode::FAILURE
}
