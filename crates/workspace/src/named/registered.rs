//! A workspace as whoever looks at its directory finds it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use microagent_process::{Process, ProcessId, boot_id};
use serde::{Deserialize, Serialize};

use super::durable::{self, Versioned};
use super::lifecycle::{State, Step};
use super::manifest::Manifest;
use super::standing::{Standing, Told};
use crate::directory::{MANIFEST, WorkspaceDir};
use crate::lock::lock_within;
use crate::{Name, RunError, StateDir};

/// What is there only while it has a machine.
const RUN: &str = "run";
/// Within that, the machine's own.
const MACHINE: &str = "machine";
/// Within that, where its shim answers.
const SOCKET: &str = "shim.sock";
/// Within that, which process its shim is.
const RECORD: &str = "shim.json";
/// Who holds its lock is about to change something.
const TURN: &str = "turn";

/// How long other commands may have their turn before this one: the longest waits for a shim
/// to answer for the first time.
const TURN_WITHIN: Duration = Duration::from_secs(90);

/// How long a shim whose workspace has come to rest may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A workspace that was made.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    path: PathBuf,
    name: Name,
}

/// The turn of one command to change a workspace.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: File,
}

impl Turn {
    /// The same turn for another process, which has it as long as it keeps this open.
    pub(crate) fn handed_on(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }
}

/// `run/shim.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShimRecord {
    version: u32,
    boot_id: String,
    /// None while it is handed over: nobody has it.
    process: Option<ProcessId>,
    /// Whether that is a run at a terminal, which serves nobody else.
    #[serde(default)]
    at_terminal: bool,
}

impl Versioned for ShimRecord {
    const VERSION: u32 = 1;
    const WHAT: &'static str = "record of the workspace's shim";
}

impl Registered {
    /// The workspace of this name.
    ///
    /// # Errors
    /// `NoWorkspace`
    pub(crate) fn find(state: &StateDir, name: &Name) -> Result<Self, RunError> {
        let found = Self::at(state.workspaces().join(name.as_str()), name.clone());
        if found.path.join(MANIFEST).exists() { Ok(found) } else { Err(found.gone()) }
    }

    /// The workspace in this directory.
    pub(crate) fn at(path: PathBuf, name: Name) -> Self {
        Self { path, name }
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.path.join(RUN)
    }

    pub(crate) fn machine(&self) -> PathBuf {
        self.run().join(MACHINE)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run().join(SOCKET)
    }

    /// # Errors
    /// `NoWorkspace`, and what reading it meets.
    pub(crate) fn manifest(&self) -> Result<Manifest, RunError> {
        Manifest::read(&self.path)?.ok_or_else(|| self.gone())
    }

    /// Waits for its turn to change something.
    ///
    /// # Errors
    /// `InUse` where others take too long; `NoWorkspace` where it was removed meanwhile.
    pub(crate) async fn turn(&self) -> Result<Turn, RunError> {
        let path = self.path.join(TURN);
        let failed = |e| RunError::state(format!("cannot lock {}", path.display()), e);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.gone()),
            file => file.map_err(failed)?,
        };
        if !lock_within(&file, TURN_WITHIN).await.map_err(failed)? {
            return Err(RunError::InUse(format!("workspace {}", self.name)));
        }
        // It may have been removed, and made again, while others had their turn.
        let same = |there: &fs::Metadata, held: &fs::Metadata| {
            (there.dev(), there.ino()) == (held.dev(), held.ino())
        };
        match (fs::metadata(&path), file.metadata()) {
            (Ok(there), Ok(held)) if same(&there, &held) => Ok(Turn { lock: file }),
            _ => Err(self.gone()),
        }
    }

    /// Its shim, if that lives.
    ///
    /// # Errors
    /// What looking for it meets.
    pub(crate) fn shim(&self) -> Result<Option<Process>, RunError> {
        let failed = |e| RunError::state(format!("cannot find the shim of {}", self.name), e);
        let Some(record) = durable::read::<ShimRecord>(&self.run().join(RECORD))? else {
            return Ok(None);
        };
        if record.boot_id != boot_id().map_err(failed)? {
            return Ok(None);
        }
        let Some(process) = record.process else { return Ok(None) };
        let process = Process::find(process).map_err(failed)?;
        Ok((!process.has_ended()).then_some(process))
    }

    /// Waits until a shim of it has ended that has nothing left to do. What tells of it goes
    /// before it does, so `shim` was found before that.
    ///
    /// # Errors
    /// `Timeout`, and what watching it meets.
    pub(crate) async fn ended(&self, shim: &Process) -> Result<(), RunError> {
        let failed = |e| RunError::state(format!("cannot watch the shim of {}", self.name), e);
        match shim.ended_within(GONE_WITHIN).await.map_err(failed)? {
            true => Ok(()),
            false => Err(RunError::Timeout { what: "the end of its shim", limit: GONE_WITHIN }),
        }
    }

    /// Takes the workspace itself, which whoever has it is about to leave: a shim of which
    /// nothing tells any more.
    ///
    /// # Errors
    /// `NoWorkspace`, `InUse`, and what taking it meets.
    pub(crate) async fn taken(&self) -> Result<WorkspaceDir, RunError> {
        WorkspaceDir::open_within(self.path.clone(), &self.name, GONE_WITHIN).await
    }

    /// Whether its shim was killed and its machine, which was up, may still be.
    ///
    /// # Errors
    /// What looking for them meets.
    pub(crate) fn is_orphaned(&self) -> Result<bool, RunError> {
        let failed = |e| RunError::state(format!("cannot find the shim of {}", self.name), e);
        let up = matches!(Standing::read(&self.path)?.state, State::Running | State::Paused);
        let Some(record) = durable::read::<ShimRecord>(&self.run().join(RECORD))? else {
            return Ok(false);
        };
        let here = record.boot_id == boot_id().map_err(failed)?;
        Ok(up && here && self.machine().exists() && self.shim()?.is_none())
    }

    /// Whether what has it is a run at a terminal.
    ///
    /// # Errors
    /// What looking for that meets.
    pub(crate) fn is_at_terminal(&self) -> Result<bool, RunError> {
        let record = durable::read::<ShimRecord>(&self.run().join(RECORD))?;
        Ok(record.is_some_and(|record| record.at_terminal) && self.shim()?.is_some())
    }

    /// Refuses one whose disk a machine writes to that nobody has any more.
    ///
    /// # Errors
    /// `WrongMoment`; what looking for that meets.
    pub(crate) fn check_rests(&self) -> Result<(), RunError> {
        if !self.is_orphaned()? {
            return Ok(());
        }
        let name = &self.name;
        let message = format!("the shim of {name} was killed, and its machine still runs");
        let hint =
            format!("`microagent start {name}` takes it up, `microagent kill {name}` ends it");
        Err(RunError::WrongMoment { message, hint })
    }

    /// Writes down that this process is its shim.
    pub(crate) fn record_shim(&self) -> Result<(), RunError> {
        self.record(Some(std::process::id()), false)
    }

    /// Writes down that this process runs it at a terminal.
    pub(crate) fn record_front(&self) -> Result<(), RunError> {
        self.record(Some(std::process::id()), true)
    }

    /// Writes down that whoever had its machine has let go of it.
    pub(crate) fn record_nobody(&self) -> Result<(), RunError> {
        self.record(None, false)
    }

    fn record(&self, process: Option<u32>, at_terminal: bool) -> Result<(), RunError> {
        let failed = |e| RunError::state("cannot look at this process".into(), e);
        let process = process.map(|pid| Ok(Process::now(pid)?.id())).transpose().map_err(failed)?;
        let boot_id = boot_id().map_err(failed)?;
        let record = ShimRecord { version: ShimRecord::VERSION, boot_id, process, at_terminal };
        durable::write(&self.run().join(RECORD), &record)
    }

    /// Where it is in its life: what its shim wrote down last, unless that is gone.
    ///
    /// # Errors
    /// What reading it meets.
    pub(crate) fn standing(&self) -> Result<Standing, RunError> {
        let standing = Standing::read(&self.path)?;
        if standing.state.is_resting() || self.shim()?.is_some() {
            return Ok(standing);
        }
        // It may have come to rest just now.
        let standing = Standing::read(&self.path)?;
        Ok(if standing.state.is_resting() { standing } else { lost(standing) })
    }

    pub(crate) fn gone(&self) -> RunError {
        RunError::NoWorkspace(self.name.to_string())
    }

    /// An error that it cannot do this where it is.
    pub(crate) fn wrong_moment(&self, state: State, step: Step, hint: &str) -> RunError {
        let message = format!("workspace {} is {state} and cannot {step}", self.name);
        RunError::WrongMoment { message, hint: hint.to_owned() }
    }
}

/// What is left of a workspace whose shim was killed.
fn lost(standing: Standing) -> Standing {
    let error = Told {
        kind: "crashed".into(),
        message: "its shim, the process that held its machine, was killed".into(),
        hint: Some("`microagent start` starts it again".into()),
    };
    match standing.failed(error) {
        Ok(failed) => failed,
        Err(_) => standing,
    }
}
