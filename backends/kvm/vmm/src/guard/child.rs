//! Starting the hypervisor, confined, such that it cannot outlive its guard.
#![allow(unsafe_code)] // what runs between fork and exec cannot be checked by the compiler

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use microagent_confine::{self as confine, Filter, LandlockError, Limits, Rules, Ruleset};
use microagent_vmm_protocol::{GuardSpec, Tcp};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::confine::root_is_denied;
use crate::filters::{self, Class};
use crate::signals;

/// How many descriptors a hypervisor may have open: several per queue of each of a few
/// dozen devices.
const OPEN_FILES: u64 = 1024;

/// A child that runs.
pub(crate) struct Started {
    /// The child; its output and its errors are pipes.
    pub(crate) process: Child,
    /// Whether it runs under a Landlock ruleset that denied what it should.
    pub(crate) seen_to_be_denied: bool,
}

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot confine {program}")]
    Rules {
        program: PathBuf,
        #[source]
        source: LandlockError,
    },
    #[error("cannot confine {program}: this kernel has no Landlock")]
    NoLandlock { program: PathBuf },
    #[error("cannot start {program}")]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Starts what `spec` describes. It runs as soon as this returns.
pub(crate) fn start(spec: &GuardSpec) -> Result<Started, ChildError> {
    let program = || spec.program.clone();
    let rules = Rules {
        read: spec.confinement.read.clone(),
        write: spec.confinement.write.clone(),
        tcp: match spec.confinement.tcp {
            Tcp::Denied => confine::Tcp::Denied,
            Tcp::Anywhere => confine::Tcp::Anywhere,
        },
        ..Rules::default()
    };
    let ruleset =
        Ruleset::new(&rules).map_err(|source| ChildError::Rules { program: program(), source })?;
    if !ruleset.is_supported() && !spec.confinement.landlock_optional {
        return Err(ChildError::NoLandlock { program: program() });
    }
    spawn(spec, ruleset).map_err(|source| ChildError::Spawn { program: program(), source })
}

fn spawn(spec: &GuardSpec, ruleset: Ruleset) -> io::Result<Started> {
    let (denied, denied_in_child) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let fences = Fences {
        guard: rustix::process::getpid(),
        limits: Limits { file_size: spec.confinement.max_file_size, open_files: OPEN_FILES },
        ruleset,
        denied: denied_in_child,
        filter: filters::filter(Class::Child)?,
    };
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: `Fences::put_up` makes system calls only; it neither allocates nor locks, and
    // this process has one thread.
    unsafe { command.pre_exec(move || fences.put_up()) };
    let process = command.spawn()?;
    // The child has passed exec by now, so what it had to say is in the pipe.
    let seen_to_be_denied = rustix::io::read(&denied, &mut [0u8; 1]) == Ok(1);
    Ok(Started { process, seen_to_be_denied })
}

/// What holds for the child before its program runs.
struct Fences {
    guard: Pid,
    limits: Limits,
    ruleset: Ruleset,
    denied: OwnedFd,
    filter: Option<Filter>,
}

impl Fences {
    /// Runs in the child between fork and exec.
    fn put_up(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(self.guard) {
            // The guard died before it could be followed.
            return Err(Errno::SRCH.into());
        }
        rustix::process::setsid()?;
        signals::reset()?;
        self.limits.apply()?;
        if self.ruleset.is_supported() {
            self.ruleset.restrict_self()?;
            if root_is_denied() {
                rustix::io::write(self.denied.as_fd(), &[1])?;
            }
        }
        // The last, so that it need not allow what stands above.
        self.filter.as_ref().map_or(Ok(()), Filter::install_on_this_thread)
    }
}
