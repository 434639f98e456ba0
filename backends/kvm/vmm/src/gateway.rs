//! `gateway`: starts passt and stands between it and a guest's network device.
//!
//! passt opens sockets of the host for whatever a guest sends; here is decided what it is told
//! of, see [`microagent_devices::fence`]. It confines itself (namespaces of its own, an empty
//! root, no capability, a filter of calls), which it could not do from within a Landlock
//! domain, so it is started before this process enters one.
//!
//! Single-threaded on purpose, as the guard is: the child's parent-death signal is tied to the
//! thread that made it. A passt that was started by root becomes another user and loses that
//! signal; what ends it then is the end of its socket, for which it was told to look.

mod passt;
mod ready;
mod relay;
mod way;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use microagent_confine::{Limits, Rules, Ruleset, Signals, forbid_new_privileges};
use microagent_devices::fence::{self, Fence};
use microagent_vmm_protocol::{Fencing, GATEWAY_FD, GatewayReport, GatewaySpec, LIFE_FD};

use crate::filters::{self, Class};
use crate::inherited::{self, InheritedError};
use crate::life::Life;
use crate::log::chain;
use crate::signals;
use crate::spec::{self, SpecError};
use passt::Passt;
use relay::{End, Relay};

/// Descriptors: two sockets, pipes, and what the process itself needs.
const OPEN_FILES: u64 = 32;
/// The longest file that is written here, in bytes: its log.
const LONGEST_LOG: u64 = 1 << 20;

/// Why there is no network, or no more.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    #[error("program of the specification is {0:?}, expected an absolute path")]
    Program(PathBuf),
    #[error("cannot prepare this process to start passt")]
    Prepare(#[source] io::Error),
    #[error("cannot start {program}")]
    Start { program: PathBuf, source: io::Error },
    #[error("passt ended: {0}")]
    Ended(String),
    #[error("passt did not answer within {} s", ready::ANSWER_WITHIN.as_secs())]
    NoAnswer,
    #[error("nobody is left to need a network")]
    NotNeeded,
    #[error("cannot confine this process")]
    Confine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot pass frames on")]
    Relay(#[source] io::Error),
}

/// Starts what the specification says and stands until either end is gone.
pub(crate) fn run() -> ExitCode {
    match stand() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = chain(&error);
            let _ = writeln!(io::stderr(), "microagent-vmm gateway: {message}");
            send(&GatewayReport::Failed { message });
            ExitCode::FAILURE
        }
    }
}

fn stand() -> Result<(), GatewayError> {
    signals::ignore_what_ends_a_session().map_err(GatewayError::Prepare)?;
    forbid_new_privileges().map_err(GatewayError::Prepare)?;
    let spec: GatewaySpec = spec::read(io::stdin().lock())?;
    let (life, device) = descriptors(spec.attached)?;
    if !spec.program.is_absolute() {
        return Err(GatewayError::Program(spec.program));
    }
    let mut passt = Passt::start(&spec)
        .map_err(|source| GatewayError::Start { program: spec.program.clone(), source })?;
    let Fencing { address, gateway, udp, resolver } = spec.fencing.clone();
    let fence = Fence::new(fence::Rules { address, gateway, udp, resolver });
    let mut relay = Relay::new(device.into(), fence).map_err(GatewayError::Prepare)?;
    ready::wait(&mut passt, &mut relay, &spec.fencing, life.as_ref())?;
    send(&GatewayReport::Ready { pid: passt.id() });
    confine()?;
    match relay.run(&mut passt, life.as_ref()).map_err(GatewayError::Relay)? {
        End::Passt => Err(GatewayError::Ended(passt.last_words())),
        End::Device => {
            relay.hand_over(&passt);
            Ok(())
        }
        End::Life => Ok(()),
    }
}

fn descriptors(attached: bool) -> Result<(Option<Life>, std::os::fd::OwnedFd), InheritedError> {
    const DEVICE: (i32, &str) = (GATEWAY_FD, "socket of the network device");
    Ok(match attached {
        true => {
            let [life, device] = inherited::take([(LIFE_FD, "life pipe"), DEVICE])?;
            (Some(Life::new(life)), device)
        }
        false => {
            let [device] = inherited::take([DEVICE])?;
            (None, device)
        }
    })
}

/// From here on there are two sockets, the pipes and the log, and nothing is opened.
fn confine() -> Result<(), GatewayError> {
    let confined = |e: Box<dyn std::error::Error + Send + Sync>| GatewayError::Confine(e);
    let limits = Limits { file_size: LONGEST_LOG, open_files: OPEN_FILES };
    limits.apply().map_err(|e| confined(e.into()))?;
    // passt is outside of the domain, and must be ended.
    let rules = Rules { signals: Signals::Anywhere, ..Rules::default() };
    let ruleset = Ruleset::new(&rules).map_err(|e| confined(e.into()))?;
    if ruleset.is_supported() {
        ruleset.restrict_self().map_err(|e| confined(e.into()))?;
    }
    filters::install(Class::Gateway).map_err(|e| confined(e.into()))
}

/// Writes a line to standard output. That nobody listens any more is no error.
fn send(report: &GatewayReport) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
