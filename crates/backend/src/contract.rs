//! `Backend` and `Machine`.
//!
//! ```text
//!              start            pause
//!   Created ──────────► Running ─────► Paused
//!      │                   │  ▲──────────┘
//!      │ kill              │ resume   │ kill
//!      ▼                   ▼          ▼
//!   Stopped ◄── guest ends, kill, crash
//! ```
//! `destroy` is allowed in every state. An operation at the wrong moment is
//! [`ErrorKind::InvalidState`](crate::ErrorKind::InvalidState) and changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use microagent_machine::MachineSpec;

use crate::{
    Capabilities, ConsoleLog, Exit, Isolation, Lifetime, MachineStats, Result, RunDir, State,
    VsockSocket,
};

/// A way of running machines.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The name by which users choose it, such as `qemu`.
    fn name(&self) -> &str;

    /// What can be had here and now. Repeatable and without side effects.
    ///
    /// # Errors
    /// `Unavailable` with the reason and the remedy where this backend cannot run at all.
    async fn probe(&self) -> Result<Capabilities>;

    /// Builds a machine with its vCPUs held.
    ///
    /// On an error no process, file, mount or socket of it is left.
    ///
    /// # Errors
    /// `Unsupported` for a wish that [`Backend::probe`] does not declare, `Usage` for a spec
    /// without a kernel, and whatever building it meets.
    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>>;

    /// Takes up a machine that was made earlier, perhaps by another process.
    ///
    /// # Errors
    /// `NotFound` where the directory holds none (after `destroy`, for one).
    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>>;
}

/// One machine, in a process of its own.
#[async_trait]
pub trait Machine: Send + Sync {
    /// Where it is in its life.
    ///
    /// # Errors
    /// What asking the monitor meets; a monitor that is gone is `Stopped`, not an error.
    async fn state(&self) -> Result<State>;

    /// Lets the vCPUs of a `Created` machine run.
    ///
    /// # Errors
    /// `InvalidState` unless it is `Created`.
    async fn start(&self) -> Result<()>;

    /// Waits for its end, at most for `within`; `None` means that it still runs. Keeps nobody
    /// from asking anything else, polled or not.
    ///
    /// # Errors
    /// What watching the monitor meets. A monitor that died is [`Exit::Crashed`], no error.
    async fn wait(&self, within: Duration) -> Result<Option<Exit>>;

    /// Ends it at once. Idempotent.
    ///
    /// # Errors
    /// Only if a process that must be ended cannot be.
    async fn kill(&self) -> Result<()>;

    /// Ends it and removes every trace: processes, sockets, files in the run directory.
    /// Idempotent.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    async fn destroy(&self) -> Result<()>;

    /// The host end of its vsock device, always in the hybrid form.
    fn vsock(&self) -> &VsockSocket;

    /// What the guest wrote to its console.
    fn console(&self) -> &ConsoleLog;

    /// What is in force for its processes now, read from the system, not promised.
    ///
    /// # Errors
    /// `InvalidState` when no process is left to look at.
    async fn isolation(&self) -> Result<Isolation>;

    /// Pausing, where the backend can.
    fn as_pause(&self) -> Option<&dyn Pause> {
        None
    }

    /// Counters, where the backend keeps any.
    fn as_stats(&self) -> Option<&dyn Stats> {
        None
    }

    /// A power button, where the guest can see one.
    fn as_power_button(&self) -> Option<&dyn PowerButton> {
        None
    }
}

/// Stopping the vCPUs for a while.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Stops the vCPUs; the guest's clocks do not see the time.
    ///
    /// # Errors
    /// `InvalidState` unless it is `Running`.
    async fn pause(&self) -> Result<()>;

    /// Lets the vCPUs go on.
    ///
    /// # Errors
    /// `InvalidState` unless it is `Paused`.
    async fn resume(&self) -> Result<()>;
}

/// What a machine counts.
#[async_trait]
pub trait Stats: Send + Sync {
    /// The counters now.
    ///
    /// # Errors
    /// `InvalidState` once it is `Stopped`.
    async fn read(&self) -> Result<MachineStats>;
}

/// Asking the guest to end, by a button that an ordinary operating system heeds.
#[async_trait]
pub trait PowerButton: Send + Sync {
    /// Presses it. What the guest makes of that, if anything, is the guest's affair.
    ///
    /// # Errors
    /// `InvalidState` unless it is `Running`.
    async fn press(&self) -> Result<()>;
}
