//! `serve-net`: the network device of a hypervisor that has none for a stream socket.
//!
//! It serves one frontend and ends with it, or with the life pipe.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use microagent_confine::forbid_new_privileges;
use microagent_devices::vhost_user::net::NetServer;
use microagent_devices::virtio::net::{Config, HostEnd, Net, NetError};
use microagent_vmm_protocol::{LIFE_FD, SERVE_NET_FD, ServeNetSpec, VHOST_LISTENER_FD};
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::filters::Class;
use crate::inherited::{self, InheritedError};
use crate::life::Life;
use crate::log::chain;
use crate::signals;
use crate::spec::{self, SpecError};
use crate::vhost_server::{ServerError, restrict, serve, watch_life};

/// Descriptors: two sockets, events of queues, and what the process itself needs.
const OPEN_FILES: u64 = 64;

/// Why there is no device, or no more.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    #[error("cannot prepare this process")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Device(#[from] NetError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Serves until the frontend is gone.
pub(crate) fn run() -> ExitCode {
    match serve_net() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve_net() -> Result<(), ServeError> {
    signals::ignore_what_ends_a_session().map_err(ServeError::Prepare)?;
    forbid_new_privileges().map_err(ServeError::Prepare)?;
    let spec: ServeNetSpec = spec::read(io::stdin().lock())?;
    let (life, vhost, host) = descriptors(spec.attached)?;
    restrict(Vec::new(), OPEN_FILES)?;
    if let Some(life) = life {
        watch_life(life)?;
    }
    let host = HostEnd::Stream(host.into());
    let server = NetServer::new(Net::new(Config { mac: spec.mac, mtu: None, host })?);
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let daemon = VhostUserDaemon::new("vhost-user".into(), server.clone(), memory)
        .map_err(ServerError::Serve)?;
    server.attach(&daemon).map_err(|e| ServerError::Watch("host end", e))?;
    // A hypervisor may connect only when its guest is started, whenever that is.
    Ok(serve(daemon, vhost, None, Class::Net)?)
}

fn descriptors(attached: bool) -> Result<(Option<Life>, UnixListener, OwnedFd), InheritedError> {
    const VHOST: (i32, &str) = (VHOST_LISTENER_FD, "vhost-user listener");
    const HOST: (i32, &str) = (SERVE_NET_FD, "host end of the network");
    Ok(match attached {
        true => {
            let [life, vhost, host] = inherited::take([(LIFE_FD, "life pipe"), VHOST, HOST])?;
            (Some(Life::new(life)), vhost.into(), host)
        }
        false => {
            let [vhost, host] = inherited::take([VHOST, HOST])?;
            (None, vhost.into(), host)
        }
    })
}
