//! From prepared parts to a guest whose agent answers, and back to nothing.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::{ConsoleLog, Exit, Lifetime, Machine, RunDir};
use microagent_guest_protocol::ending::AGENT_SAYS;
use microagent_guest_protocol::{AGENT_PORT, AgentConfig, OnDisconnect, Token, initramfs};
use microagent_vsock::{AgentListener, SessionError};

use super::prepare::Prepared;
use super::{Flow, Tenure};
use crate::attach::attach;
use crate::directory::WorkspaceDir;
use crate::named::{RESULT, Told, durable, keep};
use crate::plan::{RootFiles, RootMode, agent_config, boot, machine_spec};
use crate::{Ending, RunError, RunIo};

/// How long a guest may take from its first instruction to its agent's first words. Many
/// machines that boot at once under emulation on few processors share those.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);

/// How long its agent may then take to mount its disks.
const MOUNT_DEADLINE: Duration = Duration::from_secs(60);

/// How much of the console is looked at for its last lines, in bytes.
const CONSOLE_END: u64 = 16 << 10;

/// How many of its last lines stand in an error.
const CONSOLE_LINES: usize = 12;

/// How much of the console is shown to those who want to see it, in bytes.
const CONSOLE_SHOWN: u64 = 1 << 20;

/// Room in a scratch disk beside the blocks of its base: the snapshot's own header.
const SCRATCH_MARGIN: u64 = 1 << 20;

/// The write end of the life pipe: while it is open the machine may live.
#[derive(Debug)]
pub(super) struct LifeLine {
    _write_end: OwnedFd,
}

impl Flow<'_> {
    /// Makes the machine with its vCPUs held, and listens for its agent.
    pub(crate) async fn build(
        &mut self,
        prepared: &Prepared,
        io: &mut RunIo,
    ) -> Result<(), RunError> {
        io.progress.booting(prepared.choice.backend.name());
        let directory = match self.directory.take() {
            Some(held) => held,
            None => WorkspaceDir::create(&self.tools.state, &self.request.name)?,
        };
        let directory = self.directory.insert(directory);
        let root = match self.tenure {
            Tenure::Attached => root_files(prepared, directory)?,
            Tenure::Detached | Tenure::Leavable | Tenure::Borrowed => {
                RootFiles::Copy { disk: prepared.base.clone() }
            }
        };
        self.report.rootfs_path = Some(root.reported().display().to_string());
        let disks = &self.request.disks;
        let made = match self.tenure {
            Tenure::Attached => directory.path().to_owned(),
            Tenure::Detached | Tenure::Leavable | Tenure::Borrowed => {
                fresh(directory.file("run/disks"))?
            }
        };
        let attached = attach(disks, &self.tools.state, &made, &io.progress);
        let attached = io.interrupts.guard(attached).await?;
        self.phases.end("disk");

        let run_dir = RunDir::create(directory.file(match self.tenure {
            Tenure::Attached => "run",
            Tenure::Detached | Tenure::Leavable | Tenure::Borrowed => "run/machine",
        }))?;
        let token = new_token()?;
        let power_off = prepared.choice.capabilities.power_off;
        let channel = self.request.mediation.as_ref();
        let hostname = self.request.guest_hostname();
        let config = AgentConfig {
            network: prepared.network.for_agent(),
            loopback_ports: channel.and_then(|c| c.loopback_port()).into_iter().collect(),
            on_disconnect: match self.tenure {
                Tenure::Attached | Tenure::Borrowed => OnDisconnect::PowerOff,
                Tenure::Detached | Tenure::Leavable => OnDisconnect::Reconnect,
            },
            ..agent_config(token.clone(), power_off, hostname, &root, &attached)
        };
        self.token = Some(token.clone());
        if let Some(front) = &self.front {
            front.note_agent(token.clone())?;
        }
        let archive = initramfs::archive(self.tools.agent, &config);
        let initramfs = write_private(run_dir.file("initramfs"), &archive)?;
        let network = &prepared.network;
        let mut spec = machine_spec(&self.request.resources, &root, &attached, network);
        spec.boot = Some(boot(&prepared.kernel, initramfs, self.request.verbose));

        let lifetime = match self.tenure {
            Tenure::Attached | Tenure::Borrowed => {
                let keep = self.request.keep || self.tenure == Tenure::Borrowed;
                let goes = if keep { run_dir.path() } else { directory.path() };
                let (life, lifetime) = lifeline(goes)?;
                self.life = Some(life);
                lifetime
            }
            Tenure::Detached | Tenure::Leavable => Lifetime::Detached,
        };
        let machine = prepared.choice.backend.create(&spec, &run_dir, lifetime).await?;
        let machine = self.machine.insert(machine);
        let path = machine.vsock().listener_path(AGENT_PORT);
        let listener = AgentListener::bind(&path, token)
            .map_err(|e| RunError::state(format!("cannot listen at {}", path.display()), e))?;
        self.listener = Some(listener);
        self.phases.end("create");
        Ok(())
    }

    /// Lets the guest run until its agent is ready for commands.
    pub(crate) async fn boot(&mut self, io: &mut RunIo) -> Result<(), RunError> {
        if let Some(machine) = &self.machine {
            machine.start().await?;
        }
        self.meet(io).await
    }

    /// Waits for the agent of a machine that runs, until it is ready for commands.
    pub(crate) async fn meet(&mut self, io: &mut RunIo) -> Result<(), RunError> {
        let (Some(machine), Some(listener)) = (&self.machine, self.listener.take()) else {
            return Ok(());
        };
        let accepted = tokio::select! {
            biased;
            interrupt = io.interrupts.next() => return Err(RunError::Interrupted(interrupt)),
            accepted = listener.accept(BOOT_DEADLINE) => accepted,
            end = ended(machine.as_ref()) => {
                return Err(boot_error("booting", &end_text(&end), machine.as_ref()));
            }
        };
        let session = accepted.map_err(|e| session_error("booting", &e, machine.as_ref()))?;
        self.phases.end("boot");
        let ready = tokio::select! {
            biased;
            interrupt = io.interrupts.next() => return Err(RunError::Interrupted(interrupt)),
            ready = session.ready(MOUNT_DEADLINE) => ready,
        };
        ready.map_err(|e| session_error("mounting its disks", &e, machine.as_ref()))?;
        self.session = Some(Arc::new(session));
        self.phases.end("mount");
        Ok(())
    }

    /// Takes up a machine that was made earlier, and listens for its agent, whose next session
    /// has at least this number.
    pub(crate) fn take_up(
        &mut self,
        machine: Box<dyn Machine>,
        token: Token,
        session: u32,
    ) -> Result<(), RunError> {
        let path = machine.vsock().listener_path(AGENT_PORT);
        let failed = |e| RunError::state(format!("cannot listen at {}", path.display()), e);
        // What a killed process listened at is still there.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        self.listener = Some(AgentListener::bind_again(&path, token, session).map_err(failed)?);
        self.machine = Some(machine);
        Ok(())
    }

    /// Hands the console over to those who want to see it, and keeps it with a workspace
    /// that is kept: the run directory goes with the machine.
    pub(super) fn keep_console(&self, machine: &dyn Machine, io: &RunIo) {
        let Ok(text) = machine.console().last(CONSOLE_SHOWN) else { return };
        if self.request.verbose {
            io.progress.console(&text);
        }
        // That of its last start stays where this one is only borrowed.
        let keep = self.request.keep && self.tenure != Tenure::Borrowed;
        if let Some(directory) = self.directory.as_ref().filter(|_| keep)
            && let Err(error) = write_private(directory.file("console.log"), &text)
        {
            tracing::warn!(%error, "cannot keep the console");
        }
    }

    /// The end of the workspace: kept with a manifest and a result, or removed.
    pub(super) fn keep_or_remove(
        &mut self,
        directory: WorkspaceDir,
        ending: &Result<Ending, RunError>,
        error: Option<&RunError>,
    ) -> Result<(), RunError> {
        if !self.request.keep || ending.is_err() {
            return directory.remove();
        }
        if let Some(result) = &self.report.result {
            let file = directory.file(RESULT);
            let text = serde_json::to_vec_pretty(result);
            text.map_err(io::Error::from)
                .and_then(|text| durable::replace(&file, &text))
                .map_err(|e| RunError::state(format!("cannot write {}", file.display()), e))?;
        }
        let Some(found) = &self.found else { return directory.remove() };
        keep(&directory, self.request, found, error.map(Told::of))?;
        // After that: whoever finds nobody who has it finds it at rest.
        match self.front.take() {
            Some(front) => front.at_rest(&directory, error),
            None => Ok(()),
        }
    }
}

/// A directory with nothing in it.
fn fresh(path: PathBuf) -> Result<PathBuf, RunError> {
    let failed = |e| RunError::state(format!("cannot make {}", path.display()), e);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
    Ok(path)
}

fn root_files(prepared: &Prepared, directory: &WorkspaceDir) -> Result<RootFiles, RunError> {
    match prepared.mode {
        RootMode::Copy => {
            let disk = directory.file("rootfs.ext4");
            microagent_rootfs::clone_for_run(&prepared.base, &disk, None)?;
            Ok(RootFiles::Copy { disk })
        }
        RootMode::Layered => {
            let base = prepared.base.clone();
            let scratch = directory.file("scratch");
            let len = fs::metadata(&base)
                .map_err(|e| RunError::state(format!("cannot read {}", base.display()), e))?
                .len();
            microagent_rootfs::make_scratch(&scratch, len + SCRATCH_MARGIN)?;
            Ok(RootFiles::Layered { base, scratch })
        }
    }
}

/// What `goes` with this process, should that be killed.
fn lifeline(goes: &Path) -> Result<(LifeLine, Lifetime), RunError> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (read_end, write_end) = rustix::pipe::pipe_with(flags)
        .map_err(|e| RunError::state("cannot make a pipe".into(), e.into()))?;
    let lifetime = Lifetime::Attached { pipe: read_end, remove: vec![goes.to_owned()] };
    Ok((LifeLine { _write_end: write_end }, lifetime))
}

fn new_token() -> Result<Token, RunError> {
    let mut bits = [0; 16];
    let got = rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(Token::new(bits)),
        Ok(_) => {
            Err(RunError::state("cannot draw a token".into(), io::ErrorKind::UnexpectedEof.into()))
        }
        Err(e) => Err(RunError::state("cannot draw a token".into(), e.into())),
    }
}

fn write_private(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, RunError> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|e| RunError::state(format!("cannot write {}", path.display()), e))?;
    Ok(path)
}

/// Waits for the machine's end, however long that takes.
pub(crate) async fn ended(machine: &dyn Machine) -> Exit {
    loop {
        match machine.wait(Duration::from_secs(3600)).await {
            Ok(Some(exit)) => return exit,
            Ok(None) => {}
            Err(e) => return Exit::Crashed { detail: e.to_string() },
        }
    }
}

/// How a machine ended, in words.
pub(crate) fn end_text(exit: &Exit) -> String {
    match exit {
        Exit::PowerOff => "it powered itself off".into(),
        Exit::Reset => "it was reset".into(),
        Exit::Panic => "its kernel panicked".into(),
        Exit::Killed => "it was killed".into(),
        Exit::Crashed { detail } => format!("the hypervisor crashed: {detail}"),
    }
}

fn session_error(stage: &'static str, error: &SessionError, machine: &dyn Machine) -> RunError {
    boot_error(stage, &crate::error::chain(error), machine)
}

fn boot_error(stage: &'static str, reason: &str, machine: &dyn Machine) -> RunError {
    RunError::Boot { stage, reason: reason.to_owned(), console: last_lines(machine.console()) }
}

/// The last lines of a console, made safe to print: a guest chooses its bytes.
pub(crate) fn last_lines(console: &ConsoleLog) -> Vec<String> {
    let text = console.last(CONSOLE_END).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<_> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
    // After a panic come registers and a trace: its own line says more than those, and so do
    // those of the agent just before it, which may be why there is one.
    let panic = lines.iter().rposition(|line| line.contains("Kernel panic"));
    let before = |panic| lines.iter().take(panic).rev().take_while(|l| l.starts_with(AGENT_SAYS));
    let start = panic.map(|panic| panic - before(panic).count());
    let start = start.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    lines.into_iter().skip(start).take(CONSOLE_LINES).collect()
}
