//! The network device: served by a process of its own, which is given the gateway's socket.

use std::os::fd::OwnedFd;

use microagent_backend::Result;
use microagent_guarded::{Life, Role, Unfinished};
use microagent_machine::UserNet;
use microagent_vmm_protocol::{SERVE_NET_FD, ServeNetSpec, VERSION, VHOST_LISTENER_FD};

use crate::files;

/// What serves the network device.
pub(crate) const NET: Role = Role { name: "net", argument: "serve-net", log: files::NET_LOG };

/// Starts the server of a device whose frames go to `gateway`. Cloud Hypervisor connects to it
/// when it boots.
pub(crate) fn serve(gateway: OwnedFd, life: &Life, machine: &mut Unfinished<'_>) -> Result<()> {
    let vhost = machine.sockets().listen(files::NET)?;
    let attached = life.is_attached();
    let spec = ServeNetSpec { version: VERSION, mac: UserNet::MAC, attached };
    let fds = vec![(vhost.into(), VHOST_LISTENER_FD), (gateway, SERVE_NET_FD)];
    machine.helper(NET, &spec, life, fds)
}
