//! `serve-vsock`: the vsock device of a hypervisor that has none of its own.
//!
//! It serves one frontend and ends with it, or with the life pipe.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use microagent_confine::{Limits, Rules, Ruleset, forbid_new_privileges};
use microagent_devices::vhost_user::vsock::VsockServer;
use microagent_devices::virtio::vsock::{Config, Vsock, VsockError};
use microagent_vmm_protocol::{LIFE_FD, ServeVsockSpec, VHOST_LISTENER_FD, VSOCK_LISTENER_FD};
use rustix::event::{PollFd, PollFlags, Timespec};
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::filters::{self, Class};
use crate::inherited::{self, InheritedError};
use crate::life::Life;
use crate::log::chain;
use crate::signals;
use crate::spec::{self, SpecError};

/// How long the hypervisor may take to connect.
const FRONTEND: Duration = Duration::from_secs(60);
/// Descriptors: the most connections that the device allows, and what the process itself
/// needs.
const OPEN_FILES: u64 = 1024 + 64;

/// Why there is no device, or no more.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    #[error("socket of the specification is {0:?}, expected a file name")]
    Socket(String),
    #[error("cannot enter the run directory {dir}")]
    Dir { dir: PathBuf, source: io::Error },
    #[error("cannot confine this process")]
    Confine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Device(#[from] VsockError),
    #[error("cannot watch the {0}")]
    Watch(&'static str, #[source] io::Error),
    #[error("no hypervisor connected within {} s", FRONTEND.as_secs())]
    NoFrontend,
    /// The library's errors are no `std::error::Error`, so this one cannot be a source.
    #[error("cannot serve the hypervisor: {0}")]
    Serve(vhost_user_backend::Error),
}

/// Serves until the frontend is gone.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), ServeError> {
    let confine = |e: io::Error| ServeError::Confine(e.into());
    signals::ignore_what_ends_a_session().map_err(confine)?;
    forbid_new_privileges().map_err(confine)?;
    let spec: ServeVsockSpec = spec::read(io::stdin().lock())?;
    let (life, vhost, vsock) = sockets(spec.attached)?;
    if Path::new(&spec.socket).file_name() != Some(spec.socket.as_ref()) {
        return Err(ServeError::Socket(spec.socket));
    }
    std::env::set_current_dir(&spec.dir)
        .map_err(|source| ServeError::Dir { dir: spec.dir.clone(), source })?;
    restrict(&spec.dir)?;
    if let Some(life) = life {
        watch_life(life)?;
    }
    let device = Vsock::new(Config { guest_cid: spec.cid, socket: spec.socket, listener: vsock })?;
    serve_frontend(device, vhost)
}

fn sockets(attached: bool) -> Result<(Option<Life>, UnixListener, UnixListener), InheritedError> {
    const VHOST: (i32, &str) = (VHOST_LISTENER_FD, "vhost-user listener");
    const VSOCK: (i32, &str) = (VSOCK_LISTENER_FD, "hybrid vsock listener");
    Ok(match attached {
        true => {
            let [life, vhost, vsock] = inherited::take([(LIFE_FD, "life pipe"), VHOST, VSOCK])?;
            (Some(Life::new(life)), vhost.into(), vsock.into())
        }
        false => {
            let [vhost, vsock] = inherited::take([VHOST, VSOCK])?;
            (None, vhost.into(), vsock.into())
        }
    })
}

/// Before the first thread, since it holds for threads that are made later.
fn restrict(dir: &Path) -> Result<(), ServeError> {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let open_files = files.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    Limits { file_size: 0, open_files }.apply().map_err(|e| ServeError::Confine(e.into()))?;
    let rules = Rules { write: vec![dir.to_owned()], ..Rules::default() };
    let ruleset = Ruleset::new(&rules).map_err(|e| ServeError::Confine(e.into()))?;
    if ruleset.is_supported() {
        ruleset.restrict_self().map_err(|e| ServeError::Confine(e.into()))?;
    }
    Ok(())
}

/// Ends this process with the life pipe, whatever else it is doing.
fn watch_life(life: Life) -> Result<(), ServeError> {
    std::thread::Builder::new()
        .name("life".into())
        .spawn(move || {
            life.wait_for_end();
            std::process::exit(0)
        })
        .map(drop)
        .map_err(|source| ServeError::Watch("life pipe", source))
}

fn serve_frontend(device: Vsock, listener: UnixListener) -> Result<(), ServeError> {
    let server = VsockServer::new(device);
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new("vhost-user".into(), server.clone(), memory)
        .map_err(ServeError::Serve)?;
    server.attach(&daemon).map_err(|source| ServeError::Watch("host programs", source))?;
    wait_for_frontend(&listener)?;
    daemon.start(&mut Listener::from(listener)).map_err(ServeError::Serve)?;
    // All threads exist now, and the guest has not run yet.
    filters::install(Class::Vsock).map_err(|e| ServeError::Confine(e.into()))?;
    match daemon.wait() {
        Ok(()) | Err(vhost_user_backend::Error::HandleRequest(_)) => Ok(()),
        Err(error) => Err(ServeError::Serve(error)),
    }
}

fn wait_for_frontend(listener: &UnixListener) -> Result<(), ServeError> {
    let watch = |e: rustix::io::Errno| ServeError::Watch("vhost-user listener", e.into());
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec::try_from(FRONTEND).ok();
    match rustix::event::poll(&mut fds, timeout.as_ref()).map_err(watch)? {
        0 => Err(ServeError::NoFrontend),
        _ => Ok(()),
    }
}
