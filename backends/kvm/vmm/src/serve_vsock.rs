//! `serve-vsock`: the vsock device of a hypervisor that has none of its own.
//!
//! It serves one frontend and ends with it, or with the life pipe.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use microagent_confine::forbid_new_privileges;
use microagent_devices::vhost_user::vsock::VsockServer;
use microagent_devices::virtio::vsock::{Config, Vsock, VsockError};
use microagent_vmm_protocol::{LIFE_FD, ServeVsockSpec, VHOST_LISTENER_FD, VSOCK_LISTENER_FD};
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::filters::Class;
use crate::inherited::{self, InheritedError};
use crate::life::Life;
use crate::log::chain;
use crate::signals;
use crate::spec::{self, SpecError};
use crate::vhost_server::{self, ServerError, restrict, watch_life};

/// How long the hypervisor may take to connect.
const FRONTEND: Duration = Duration::from_secs(60);
/// How long host programs may take for what the guest had sent before the hypervisor was gone.
const FINISHED_WITHIN: Duration = Duration::from_secs(2);
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
    #[error("cannot prepare this process")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Device(#[from] VsockError),
    #[error(transparent)]
    Server(#[from] ServerError),
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
    signals::ignore_what_ends_a_session().map_err(ServeError::Prepare)?;
    forbid_new_privileges().map_err(ServeError::Prepare)?;
    let spec: ServeVsockSpec = spec::read(io::stdin().lock())?;
    let (life, vhost, vsock) = sockets(spec.attached)?;
    if Path::new(&spec.socket).file_name() != Some(spec.socket.as_ref()) {
        return Err(ServeError::Socket(spec.socket));
    }
    std::env::set_current_dir(&spec.dir)
        .map_err(|source| ServeError::Dir { dir: spec.dir.clone(), source })?;
    restrict(vec![spec.dir.clone()], OPEN_FILES)?;
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

fn serve_frontend(device: Vsock, listener: UnixListener) -> Result<(), ServeError> {
    let server = VsockServer::new(device);
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let daemon = VhostUserDaemon::new("vhost-user".into(), server.clone(), memory)
        .map_err(ServerError::Serve)?;
    server.attach(&daemon).map_err(|e| ServerError::Watch("host programs", e))?;
    let served = vhost_server::serve(daemon, listener, Some(FRONTEND), Class::Vsock);
    // Its threads serve the device no more.
    server.finish(FINISHED_WITHIN);
    Ok(served?)
}
