//! A supervisor that is a program of its own, as a backend like any other.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    Backend, Capabilities, Error, ErrorKind, Lifetime, Machine, Rejection, Result, RunDir, admit,
};
use microagent_machine::{Feature, MachineSpec};
use microagent_supervisor_protocol::{
    Call, CreateArgs, DirArgs, Done, LifetimeArgs, MachineAnswer, NoArgs,
};

use crate::executable_machine::ExecutableMachine;
use crate::plugin_host::PluginHost;
use crate::program::{Fault, Program};

/// How long a probe may take.
pub(crate) const PROBE_WITHIN: Duration = Duration::from_secs(15);
/// How long building a machine may take.
const CREATE_WITHIN: Duration = Duration::from_secs(60);
/// How long an operation may take that only looks or tells.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long ending a machine may take.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(30);
/// Longest name of a supervisor, in bytes.
const MAX_NAME: usize = 64;

/// A supervisor executable or a plugin: each operation is a new process that is asked once.
///
/// What it declared when it was connected to is what machines are admitted by, so that it is
/// never asked for what it does not have.
#[derive(Debug)]
pub struct ExecutableBackend {
    program: Program,
    capabilities: Capabilities,
}

impl ExecutableBackend {
    /// Connects to the executable at `path` with these arguments, by asking it what it can
    /// do.
    ///
    /// # Errors
    /// What it says, `Timeout` if that takes longer than `within`, and `Protocol` or
    /// `Crashed` if it does not speak the protocol.
    pub async fn executable(
        path: &Path,
        arguments: Vec<OsString>,
        within: Duration,
    ) -> Result<Self> {
        let program = Program::executable(absolute(path)?, arguments);
        Ok(Self::connect(program, within).await?)
    }

    /// Connects to the plugin at `path`.
    ///
    /// # Errors
    /// As [`ExecutableBackend::executable`].
    pub async fn plugin(host: &PluginHost, path: &Path, within: Duration) -> Result<Self> {
        let program = Program::plugin((&host.program, &host.arguments), &absolute(path)?);
        Ok(Self::connect(program, within).await?)
    }

    pub(crate) async fn connect(
        program: Program,
        within: Duration,
    ) -> std::result::Result<Self, Fault> {
        let capabilities = program.ask(&Call::Probe(NoArgs {}), None, within).await?;
        check_name(&capabilities).map_err(Fault::Refused)?;
        Ok(Self { program, capabilities })
    }

    /// Refuses what was not declared, whatever the program would make of it.
    fn admitted(&self, spec: &MachineSpec, lifetime: &Lifetime) -> Result<()> {
        let rejections = admit(spec, &self.capabilities);
        if !rejections.is_empty() {
            return Err(Rejection::error(self.name(), &rejections));
        }
        if matches!(lifetime, Lifetime::Detached)
            && !self.capabilities.features.contains(&Feature::Detached)
        {
            let message = format!("{} does not offer {}", self.name(), Feature::Detached);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        match spec.boot {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Usage, "the machine has no kernel to boot")),
        }
    }

    fn machine(&self, dir: PathBuf, answer: MachineAnswer) -> Box<dyn Machine> {
        Box::new(ExecutableMachine::new(self.program.clone(), dir, answer))
    }
}

#[async_trait]
impl Backend for ExecutableBackend {
    fn name(&self) -> &str {
        &self.capabilities.backend
    }

    async fn probe(&self) -> Result<Capabilities> {
        let now: Capabilities =
            self.program.ask(&Call::Probe(NoArgs {}), None, PROBE_WITHIN).await?;
        check_name(&now)?;
        Ok(now)
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        self.admitted(spec, &lifetime)?;
        let dir = absolute(dir.path())?;
        let (life, lifetime) = match lifetime {
            Lifetime::Attached { pipe, remove } => {
                (Some(pipe), LifetimeArgs::Attached { remove: all_absolute(remove)? })
            }
            Lifetime::Detached => (None, LifetimeArgs::Detached),
        };
        let call = Call::Create(CreateArgs { spec: spec.clone(), dir: dir.clone(), lifetime });
        match self.program.ask(&call, life, CREATE_WITHIN).await {
            Ok(answer) => Ok(self.machine(dir, answer)),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Silent(error)) => {
                // Whether there is a machine now nobody knows; there shall be none.
                let call = Call::Destroy(DirArgs { dir });
                let _ = self.program.ask::<Done>(&call, None, END_WITHIN).await;
                Err(error)
            }
        }
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        let dir = absolute(dir.path())?;
        let call = Call::Open(DirArgs { dir: dir.clone() });
        let answer = self.program.ask(&call, None, ANSWER_WITHIN).await?;
        Ok(self.machine(dir, answer))
    }
}

/// A name stands in reports and messages, so it is one word.
fn check_name(capabilities: &Capabilities) -> Result<()> {
    let name = &capabilities.backend;
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(known) {
        return Ok(());
    }
    let short: String = name.chars().take(MAX_NAME).collect();
    let message = format!(
        "supervisor calls itself {short:?}, expected 1 to {MAX_NAME} letters, digits, '-', '_' and '.'"
    );
    Err(Error::new(ErrorKind::Protocol, message))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io(format!("resolve {}", path.display()), e))
}

fn all_absolute(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    match paths.iter().find(|path| !path.is_absolute()) {
        None => Ok(paths),
        Some(path) => {
            let message = format!("'{}' to be removed is not absolute", path.display());
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}
