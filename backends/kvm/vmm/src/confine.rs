//! What a monitor may still do, and in which order it loses the rest.
//!
//! 1. Every descriptor is opened: [`Files::open`], before anything here.
//! 2. No new privileges, which the kernel wants before Landlock and filters of an ordinary
//!    user. From here on no program that is run could gain anything.
//! 3. Limits, for the process; they allow what was opened and what a machine opens later.
//! 4. Landlock, while there is one thread, since it holds for that and what it starts. What is
//!    left is the run directory, and that only for the sockets of host programs.
//! 5. The machine is built, which takes many calls that are never made again. No guest has
//!    run, so there is nobody yet to defend against.
//! 6. Each thread installs its own filter, first thing, and only then waits to be let run.
//! 7. The thread that built it all installs its filter last, before it takes a request: the
//!    guest's first instruction comes after the request to start.
//!
//! The guard has confined the process before, by rules of the driver's making; all of this can
//! only take away.

use std::io;

use microagent_confine::{LandlockError, Limits, Rules, Ruleset, forbid_new_privileges};
use microagent_vmm_protocol::MonitorSpec;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::filters::{self, Class};
use crate::monitor::Files;
use crate::signals;

/// Descriptors: the most connections that a vsock device allows, and what the machine itself
/// needs, several for each queue of each device.
const OPEN_FILES: u64 = 1024 + 256;

/// Why a monitor is not confined, and so runs no guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error("cannot confine this process")]
    Process(#[source] io::Error),
    #[error("cannot confine this process")]
    Rules(#[from] LandlockError),
    #[error("cannot filter the system calls of a thread")]
    Filter(#[source] io::Error),
}

/// Whether Landlock was seen to deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landlocked(pub(crate) bool);

/// Steps 2 to 4.
pub(crate) fn before_building(
    spec: &MonitorSpec,
    files: &Files,
) -> Result<Landlocked, ConfineError> {
    forbid_new_privileges().map_err(ConfineError::Process)?;
    limits(files).apply().map_err(ConfineError::Process)?;
    // A disk that cannot grow further is an error of the guest's, not the end.
    signals::ignore_longest_file().map_err(ConfineError::Process)?;
    signals::end_by_faults().map_err(ConfineError::Process)?;
    let write = if spec.vsock.is_some() { vec![".".into()] } else { Vec::new() };
    let ruleset = Ruleset::new(&Rules { write, ..Rules::default() })?;
    if !ruleset.is_supported() {
        return Ok(Landlocked(false));
    }
    ruleset.restrict_self().map_err(ConfineError::Process)?;
    Ok(Landlocked(root_is_denied()))
}

/// Steps 6 and 7, for the thread that calls it.
pub(crate) fn this_thread(class: Class) -> Result<(), ConfineError> {
    filters::install_on_this_thread(class).map_err(ConfineError::Filter)
}

/// The guest's memory is no file, so the longest one is the largest disk that may be written.
fn limits(files: &Files) -> Limits {
    let within =
        |resource, wish: u64| getrlimit(resource).maximum.map_or(wish, |most| most.min(wish));
    let longest = files.disks.iter().map(|disk| disk.len).max().unwrap_or(0);
    Limits {
        file_size: within(Resource::Fsize, longest),
        open_files: within(Resource::Nofile, OPEN_FILES),
    }
}

/// Listing the root directory, which anybody may, fails with `EACCES` under any ruleset that
/// does not name it.
pub(crate) fn root_is_denied() -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(c"/", flags, Mode::empty()).is_err_and(|e| e == Errno::ACCESS)
}
