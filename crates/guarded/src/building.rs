//! Building a machine: all of it, or nothing that is left behind.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use microagent_machine::UserNet;
use microagent_vmm_protocol::{GATEWAY_FD, GuardSpec};
use serde::Serialize;
use tokio::net::unix::pipe;

use crate::files;
use crate::launch::{GUARD, Launched, Role, launch};
use crate::life::Life;
use crate::limits::END_WITHIN;
use crate::parts;
use crate::process_error::process_error;
use crate::processes::Processes;
use crate::record::{Helper, Record};
use crate::reports::{Reports, Started};
use crate::sockets::SocketDir;
use crate::user_net::{GATEWAY, Gateway, ends, gateway_spec};
use microagent_process::{Process, ProcessId};

/// A machine that is not complete; dropped, it leaves nothing.
#[derive(Debug)]
pub struct Unfinished<'a> {
    /// The program `microagent-vmm`.
    vmm: &'a Path,
    dir: &'a RunDir,
    sockets: SocketDir,
    own_files: &'a [&'a str],
    guard: Option<Process>,
    helpers: Vec<(Role, Process)>,
    complete: bool,
}

impl<'a> Unfinished<'a> {
    /// Begins one in `dir`, an absolute path; `own_files` are what it may have there beside
    /// [`files::ALL`].
    ///
    /// # Errors
    /// `Conflict` where the directory holds a machine already.
    pub fn begin(vmm: &'a Path, dir: &'a RunDir, own_files: &'a [&'a str]) -> Result<Self> {
        if let Some(name) = [files::RECORD].iter().chain(own_files).find(|n| dir.file(n).exists()) {
            let message = format!("{} holds a machine already: {name}", dir.path().display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let sockets = SocketDir::open(dir)?;
        let (guard, helpers) = (None, Vec::new());
        Ok(Self { vmm, dir, sockets, own_files, guard, helpers, complete: false })
    }

    /// Sockets in its directory.
    pub fn sockets(&self) -> &SocketDir {
        &self.sockets
    }

    /// Starts the guard, which starts the monitor; `fds` are for the monitor, each under its
    /// number.
    ///
    /// # Errors
    /// What starting it meets.
    pub fn guard(
        &mut self,
        spec: &GuardSpec,
        life: &Life,
        fds: Vec<(OwnedFd, i32)>,
    ) -> Result<Reports> {
        let fds = life.fd()?.into_iter().chain(fds).collect();
        let (guard, reports) = self.start(GUARD, spec, fds)?;
        self.guard = Some(guard);
        Ok(Reports::new(reports))
    }

    /// Starts a process without which the monitor cannot be.
    ///
    /// # Errors
    /// What starting it meets.
    pub fn helper(
        &mut self,
        role: Role,
        spec: &impl Serialize,
        life: &Life,
        fds: Vec<(OwnedFd, i32)>,
    ) -> Result<()> {
        let fds = life.fd()?.into_iter().chain(fds).collect();
        let (helper, _) = self.start(role, spec, fds)?;
        self.helpers.push((role, helper));
        Ok(())
    }

    /// Starts one that is found should this process be killed: it is told what to do once it is
    /// written down.
    fn start(
        &self,
        role: Role,
        spec: &impl Serialize,
        fds: Vec<(OwnedFd, i32)>,
    ) -> Result<(Process, pipe::Receiver)> {
        let Launched { process, reports, input } = launch(self.vmm, role, self.dir, fds)?;
        let told = self
            .note(role.name, process.id())
            .and_then(|()| input.tell(spec).map_err(|e| process_error("tell", role.name, e)));
        if let Err(error) = told {
            let _ = process.kill();
            process.wait(END_WITHIN);
            return Err(error);
        }
        Ok((process, reports))
    }

    fn note(&self, role: &str, id: ProcessId) -> Result<()> {
        parts::note(self.dir, id).map_err(|e| process_error("note", role, e))
    }

    /// Starts the gateway of a user network whose way out is the program `passt`; the
    /// descriptor is the other end of its socket, for the network device.
    ///
    /// # Errors
    /// What starting it meets.
    pub fn gateway(
        &mut self,
        passt: &Path,
        net: &UserNet,
        life: &Life,
    ) -> Result<(Gateway, OwnedFd)> {
        let (gateway, device) = ends()?;
        let spec = gateway_spec(passt, net, life.is_attached());
        let fds = life.fd()?.into_iter().chain([(gateway, GATEWAY_FD)]).collect();
        let (process, reports) = self.start(GATEWAY, &spec, fds)?;
        self.helpers.push((GATEWAY, process));
        Ok((Gateway::new(reports, net), device))
    }

    /// Counts a process that a helper has started among those of the machine.
    ///
    /// # Errors
    /// `Io` if it is gone already.
    pub fn helper_started(&mut self, role: Role, pid: u32) -> Result<()> {
        let process = Process::now(pid).map_err(|e| process_error("hold", role.name, e))?;
        let id = process.id();
        self.helpers.push((role, process));
        self.note(role.name, id)
    }

    /// The process of this role, if it was started.
    pub fn helper_of(&self, role: Role) -> Option<&Process> {
        self.helpers.iter().find(|(other, _)| other.name == role.name).map(|(_, p)| p)
    }

    /// Records a machine of `backend` whose monitor is `started`.
    ///
    /// # Errors
    /// `Io` if the monitor is gone already, or cannot be recorded.
    pub fn finish(mut self, backend: &str, started: Started) -> Result<Processes> {
        let monitor = Process::now(started.pid).map_err(|e| process_error("hold", "monitor", e))?;
        let gone = || Error::new(ErrorKind::InvalidState, "the machine was not started");
        let guard = self.guard.as_ref().ok_or_else(gone)?;
        let helper =
            |(role, process): &(Role, Process)| Helper { name: role.name.into(), id: process.id() };
        let helpers = self.helpers.iter().map(helper).collect();
        let record = Record::new(backend, monitor.id(), guard.id(), helpers, started.landlock)?;
        record.write(self.dir)?;
        parts::forget(self.dir);
        let guard = self.guard.take().ok_or_else(gone)?;
        self.complete = true;
        let helpers = std::mem::take(&mut self.helpers);
        Ok(Processes::new(self.dir.clone(), record, monitor, guard, helpers))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        // The monitor is killed with its guard, but its end must be seen here.
        let children = self.guard.iter().flat_map(Process::children).collect::<Vec<_>>();
        let helpers = self.helpers.iter().map(|(_, process)| process);
        let processes = helpers.chain(&self.guard).chain(&children);
        let deadline = Instant::now() + END_WITHIN;
        for process in processes.clone() {
            let _ = process.kill();
        }
        for process in processes {
            if !process.wait(deadline.saturating_duration_since(Instant::now())) {
                tracing::warn!(id = ?process.id(), "a process of a failed machine does not end");
            }
        }
        for name in files::ALL.iter().chain(self.own_files) {
            let _ = std::fs::remove_file(self.dir.file(name));
        }
    }
}
