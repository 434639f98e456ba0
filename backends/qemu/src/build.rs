//! Building a machine: all of it, or nothing that is left behind.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use microagent_backend::{Error, ErrorKind, Lifetime, Result, RunDir};
use microagent_machine::{Boot, MachineSpec, Vsock};
use microagent_vmm_protocol::{
    GuardSpec, LIFE_FD, ServeVsockSpec, VERSION, VHOST_LISTENER_FD, VSOCK_LISTENER_FD,
};

use crate::argv::{Facts, argv};
use crate::confinement::confinement;
use crate::files;
use crate::launch::{Role, launch};
use crate::limits::{BUILD_WITHIN, END_WITHIN};
use crate::machine::{Owned, Processes, QemuMachine};
use crate::process::{Process, process_error};
use crate::ready::{Ready, Reports, Waiting};
use crate::record::Record;
use crate::sockets::SocketDir;

/// What starts QEMU, keeps its console and ends it.
pub(crate) const GUARD: Role = Role { name: "guard", argument: "guard", log: files::GUARD_LOG };
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
    let life = Life::of(lifetime)?;
    let mut building = Building::begin(parts.vmm, dir)?;
    let owner = building.sockets.listen(files::OWNER)?;
    // The sockets first, so that nobody has to wait for them; then QEMU, since it takes
    // longest.
    let listeners = spec.vsock.map(|_| building.listeners()).transpose()?;
    let guard = GuardSpec {
        version: VERSION,
        program: parts.program.to_owned(),
        args,
        env: Vec::new(),
        dir: dir.path().to_owned(),
        attached: life.pipe.is_some(),
        remove: [dir.path().to_owned()].into_iter().chain(life.remove.clone()).collect(),
        console: files::CONSOLE.into(),
        confinement: confinement(parts.program, spec, boot, dir, parts.facts.kvm),
        pass: 0,
    };
    let reports = building.guard(&guard, &life)?;
    if let (Some(vsock), Some(listeners)) = (spec.vsock, listeners) {
        building.vsock(vsock, listeners, &life)?;
    }
    let waiting = Waiting { dir, vsock: building.vsock.as_ref() };
    let ready = tokio::time::timeout(BUILD_WITHIN, waiting.until_ready(reports, owner)).await;
    building.finish(ready.unwrap_or_else(|_| {
        let message = format!("qemu did not build the machine within {BUILD_WITHIN:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    })?)
}

/// How long the machine lives, in the form in which its processes are told.
struct Life {
    /// The read end of the life pipe of an attached machine.
    pipe: Option<OwnedFd>,
    remove: Vec<std::path::PathBuf>,
}

impl Life {
    fn of(lifetime: Lifetime) -> Result<Self> {
        match lifetime {
            Lifetime::Attached { pipe, remove } => {
                if let Some(path) = remove.iter().find(|path| !path.is_absolute()) {
                    let message = format!("'{}' to be removed is not absolute", path.display());
                    return Err(Error::new(ErrorKind::Usage, message));
                }
                Ok(Self { pipe: Some(pipe), remove })
            }
            Lifetime::Detached => Ok(Self { pipe: None, remove: Vec::new() }),
        }
    }

    fn fd(&self) -> Result<Option<(OwnedFd, i32)>> {
        let copy = self.pipe.as_ref().map(|pipe| pipe.try_clone());
        let copy = copy.transpose().map_err(|e| Error::io("copy the life pipe", e))?;
        Ok(copy.map(|fd| (fd, LIFE_FD)))
    }
}

/// The sockets that the vsock process is given.
struct Listeners {
    vhost: UnixListener,
    vsock: UnixListener,
}

/// A machine that is not complete; dropped, it leaves nothing.
struct Building<'a> {
    vmm: &'a Path,
    dir: &'a RunDir,
    sockets: SocketDir,
    guard: Option<Process>,
    vsock: Option<Process>,
    complete: bool,
}

impl<'a> Building<'a> {
    fn begin(vmm: &'a Path, dir: &'a RunDir) -> Result<Self> {
        if let Some(name) = [files::RECORD, files::OWNER].iter().find(|n| dir.file(n).exists()) {
            let message = format!("{} holds a machine already: {name}", dir.path().display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let sockets = SocketDir::open(dir)?;
        Ok(Self { vmm, dir, sockets, guard: None, vsock: None, complete: false })
    }

    fn listeners(&self) -> Result<Listeners> {
        let vhost = self.sockets.listen(files::VHOST)?;
        Ok(Listeners { vhost, vsock: self.sockets.listen(files::VSOCK)? })
    }

    fn guard(&mut self, spec: &GuardSpec, life: &Life) -> Result<Reports> {
        let fds = life.fd()?.into_iter().collect();
        let guard = launch(self.vmm, GUARD, self.dir, spec, fds)?;
        self.guard = Some(guard.process);
        Ok(Reports::new(guard.reports))
    }

    fn vsock(&mut self, vsock: Vsock, listeners: Listeners, life: &Life) -> Result<()> {
        let spec = ServeVsockSpec {
            version: VERSION,
            dir: self.dir.path().to_owned(),
            socket: files::VSOCK.into(),
            cid: vsock.cid.get(),
            attached: life.pipe.is_some(),
        };
        let mut fds: Vec<_> = life.fd()?.into_iter().collect();
        fds.push((listeners.vhost.into(), VHOST_LISTENER_FD));
        fds.push((listeners.vsock.into(), VSOCK_LISTENER_FD));
        self.vsock = Some(launch(self.vmm, VSOCK, self.dir, &spec, fds)?.process);
        Ok(())
    }

    fn finish(mut self, ready: Ready) -> Result<QemuMachine> {
        let Ready { pid, landlock, session, reports } = ready;
        let monitor = Process::now(pid).map_err(|e| process_error("hold", "monitor", e))?;
        let gone = || Error::new(ErrorKind::InvalidState, "the machine was not started");
        let guard = self.guard.as_ref().ok_or_else(gone)?;
        let vsock = self.vsock.as_ref().map(Process::id);
        let record = Record::new(monitor.id(), guard.id(), vsock, landlock)?;
        record.write(self.dir)?;
        self.complete = true;
        let guard = self.guard.take().ok_or_else(gone)?;
        let processes = Processes { monitor, guard, vsock: self.vsock.take() };
        let owned = Owned { session, _reports: reports };
        QemuMachine::new(self.dir.clone(), record, processes, Some(owned))
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        // QEMU is killed with its guard, but its end must be seen here.
        let children = self.guard.iter().flat_map(Process::children).collect::<Vec<_>>();
        let processes = self.vsock.iter().chain(&self.guard).chain(&children);
        let deadline = Instant::now() + END_WITHIN;
        for process in processes.clone() {
            let _ = process.kill();
        }
        for process in processes {
            if !process.wait(deadline.saturating_duration_since(Instant::now())) {
                tracing::warn!(id = ?process.id(), "a process of a failed machine does not end");
            }
        }
        for name in files::ALL {
            let _ = std::fs::remove_file(self.dir.file(name));
        }
    }
}
