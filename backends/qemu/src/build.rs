//! Building a machine: all of it, or nothing that is left behind.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir, claim_for_reading};
use microagent_guarded::{Life, PASST, Role, SocketDir, Unfinished};
use microagent_machine::{Access, Boot, MachineSpec, Vsock};
use microagent_vmm_protocol::{
    FIRST_PASSED_FD, GuardSpec, ServeVsockSpec, VERSION, VHOST_LISTENER_FD, VSOCK_LISTENER_FD,
};

use crate::argv::{Facts, NET_FD, argv};
use crate::backend::NAME;
use crate::confinement::confinement;
use crate::files;
use crate::limits::BUILD_WITHIN;
use crate::machine::{Owned, QemuMachine};
use crate::ready::Waiting;

/// What serves the vsock device.
pub(crate) const VSOCK: Role =
    Role { name: "vsock", argument: "serve-vsock", log: files::VSOCK_LOG };

/// What machines are made of here.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// The program `microagent-vmm`.
    pub(crate) vmm: &'a Path,
    /// QEMU.
    pub(crate) program: &'a Path,
    /// passt, where there is one.
    pub(crate) passt: Option<&'a Path>,
    /// What the arguments depend on.
    pub(crate) facts: Facts,
}

/// Builds a machine in `dir`, an absolute path, with its vCPUs held.
pub(crate) async fn build(
    parts: &Parts<'_>,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    lifetime: Lifetime,
) -> Result<QemuMachine> {
    let args = argv(spec, boot, &parts.facts)?;
    let claims = claims(spec)?;
    let life = Life::of(lifetime, dir)?;
    let mut unfinished = Unfinished::begin(parts.vmm, dir, files::OWN)?;
    let owner = unfinished.sockets().listen(files::OWNER)?;
    // The sockets first, so that nobody has to wait for them; then QEMU, since it takes
    // longest.
    let listeners = spec.vsock.map(|_| Listeners::new(unfinished.sockets())).transpose()?;
    let net = spec.net.as_ref().zip(parts.passt);
    let net = net.map(|(net, passt)| unfinished.gateway(passt, net, &life)).transpose()?;
    let (gateway, device) = net.unzip();
    // QEMU is told of the socket alone.
    let socket = device.map(|device| (device, NET_FD));
    let first_claim = FIRST_PASSED_FD + i32::from(socket.is_some());
    let fds: Vec<_> = socket.into_iter().chain(claims.into_iter().zip(first_claim..)).collect();
    let guard = GuardSpec {
        version: VERSION,
        program: parts.program.to_owned(),
        args,
        env: Vec::new(),
        dir: dir.path().to_owned(),
        attached: life.is_attached(),
        remove: life.remove(),
        console: files::CONSOLE.into(),
        confinement: confinement(parts.program, spec, boot, dir, &parts.facts),
        pass: fds.len() as u8, // fewer than it has slots for devices
        events: None,
    };
    let reports = unfinished.guard(&guard, &life, fds)?;
    if let (Some(vsock), Some(listeners)) = (spec.vsock, listeners) {
        listeners.serve(vsock, dir, &life, &mut unfinished)?;
    }
    let waiting = Waiting { dir, vsock: unfinished.helper_of(VSOCK) };
    let network = async {
        match gateway {
            Some(gateway) => gateway.ready(dir).await.map(Some),
            None => Ok(None),
        }
    };
    let ready = async { tokio::try_join!(network, waiting.until_ready(reports, owner)) };
    let (passt, ready) = tokio::time::timeout(BUILD_WITHIN, ready).await.unwrap_or_else(|_| {
        let message = format!("qemu did not build the machine within {BUILD_WITHIN:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    })?;
    if let Some(pid) = passt {
        unfinished.helper_started(PASST, pid)?;
    }
    let processes = unfinished.finish(NAME, ready.started)?;
    let owned = Owned { session: ready.session, _reports: ready.reports };
    QemuMachine::new(processes, Some(owned))
}

/// What claims the images that are only read. QEMU knows nothing of these descriptors, and the
/// claims end with it.
fn claims(spec: &MachineSpec) -> Result<Vec<OwnedFd>> {
    let read = spec.disks.iter().filter(|disk| disk.access == Access::ReadOnly);
    read.map(|disk| claim_for_reading(&disk.path)).collect()
}

/// The sockets that the vsock process is given.
struct Listeners {
    vhost: UnixListener,
    vsock: UnixListener,
}

impl Listeners {
    fn new(sockets: &SocketDir) -> Result<Self> {
        let vhost = sockets.listen(files::VHOST)?;
        Ok(Self { vhost, vsock: sockets.listen(files::VSOCK)? })
    }

    fn serve(
        self,
        vsock: Vsock,
        dir: &RunDir,
        life: &Life,
        machine: &mut Unfinished<'_>,
    ) -> Result<()> {
        let spec = ServeVsockSpec {
            version: VERSION,
            dir: dir.path().to_owned(),
            socket: files::VSOCK.into(),
            cid: vsock.cid.get(),
            attached: life.is_attached(),
        };
        let fds =
            vec![(self.vhost.into(), VHOST_LISTENER_FD), (self.vsock.into(), VSOCK_LISTENER_FD)];
        machine.helper(VSOCK, &spec, life, fds)
    }
}
