//! A vCPU: the thread that it is, what stops it, how it is held.

mod clock;
mod exit;
mod kick;
mod run;
mod run_page;

use std::io;

pub(crate) use self::clock::host_counter;
pub(crate) use self::exit::{Buses, End, Exits};
pub(crate) use self::kick::{Kick, prepare_to_be_kicked};
pub(crate) use self::run::Vcpu;

/// Why a vCPU cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VcpuError {
    /// What is shared with KVM cannot be seen.
    #[error("cannot map the state that KVM shares of a vCPU")]
    Map(#[source] io::Error),
    /// Nothing can stop it.
    #[error("cannot prepare the signal that stops vCPUs")]
    Signal(#[source] io::Error),
}
