//! What nearly every case does first: a spec, a run directory, a machine.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::time::Duration;

use microagent_backend::{Capabilities, Exit, Lifetime, Machine, RunDir, State};
use microagent_machine::{Access, Arch, Disk, DiskId, MachineSpec, MiB};

use tokio::time::Instant;

use crate::failure::{Failure, Result, require, same};
use crate::{Context, Guests, Script, traces};

/// Memory of machines whose memory is of no matter.
const MEMORY: MiB = MiB(128);
/// Length of a disk, in bytes.
const DISK_LEN: u64 = 1 << 20;
/// How much of the end of a console stands in an error, in bytes.
const MAX_QUOTED: u64 = 2000;
/// How long a machine may take to end once it must. Long enough for a kernel that boots on a
/// busy host whose own processor is emulated: a machine that does not end at all is what is
/// looked for.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(60);

/// A machine under test, attached unless a case says otherwise.
pub(crate) struct Subject {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) dir: RunDir,
    /// The write end of its life pipe; `None` for a detached one.
    pub(crate) life: Option<PipeWriter>,
}

impl Context {
    /// A machine with nothing optional, whose guest does what `script` says.
    pub(crate) fn spec(&self, script: &Script) -> Result<MachineSpec> {
        self.spec_with(&*self.guests, script)
    }

    /// The same with a guest that sees its devices.
    pub(crate) fn device_spec(&self, script: &Script) -> Result<MachineSpec> {
        self.spec_with(self.device_guests()?, script)
    }

    fn spec_with(&self, guests: &dyn Guests, script: &Script) -> Result<MachineSpec> {
        let files = self.scratch.join("guest");
        std::fs::create_dir_all(&files)?;
        Ok(MachineSpec {
            arch: Arch::HOST,
            vcpus: 1,
            memory: MEMORY,
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: Some(guests.boot(&files, script)?),
        })
    }

    /// A machine that does nothing, for ever.
    pub(crate) fn idle(&self) -> Result<MachineSpec> {
        self.spec(&Script::idle())
    }

    pub(crate) async fn caps(&self) -> Result<Capabilities> {
        Ok(self.backend.probe().await?)
    }

    /// A new run directory.
    pub(crate) fn dir(&self, name: &str) -> Result<RunDir> {
        Ok(RunDir::create(self.scratch.join(name))?)
    }

    /// A zeroed disk with the beginning given.
    pub(crate) fn disk(&self, id: &str, access: Access, beginning: &str) -> Result<Disk> {
        let path = self.scratch.join(format!("{id}.img"));
        std::fs::write(&path, beginning)?;
        std::fs::File::options().write(true).open(&path)?.set_len(DISK_LEN)?;
        let id = DiskId::new(id).map_err(|e| Failure::broken(e.to_string()))?;
        Ok(Disk { id, path, access })
    }

    /// An attached machine in a new run directory.
    pub(crate) async fn make(&self, name: &str, spec: &MachineSpec) -> Result<Subject> {
        self.make_with(name, spec, Vec::new()).await
    }

    /// The same, with what goes with it.
    pub(crate) async fn make_with(
        &self,
        name: &str,
        spec: &MachineSpec,
        remove: Vec<PathBuf>,
    ) -> Result<Subject> {
        let dir = self.dir(name)?;
        let (life, lifetime) = attached(remove)?;
        let machine = self.backend.create(spec, &dir, lifetime).await?;
        Ok(Subject { machine, dir, life: Some(life) })
    }

    /// A detached machine in a new run directory.
    pub(crate) async fn make_detached(&self, name: &str, spec: &MachineSpec) -> Result<Subject> {
        let dir = self.dir(name)?;
        let machine = self.backend.create(spec, &dir, Lifetime::Detached).await?;
        Ok(Subject { machine, dir, life: None })
    }

    /// An idle machine in each of the states in which one can be before its end.
    pub(crate) async fn one_in_each_state(&self) -> Result<Vec<(State, Subject)>> {
        let spec = self.idle()?;
        let created = self.make("created", &spec).await?;
        let running = self.make("running", &spec).await?;
        running.machine.start().await?;
        let paused = self.make("paused", &spec).await?;
        let mut all = vec![(State::Created, created), (State::Running, running)];
        if let Some(pause) = paused.machine.as_pause() {
            paused.machine.start().await?;
            pause.pause().await?;
            all.push((State::Paused, paused));
        } else {
            paused.destroyed().await?;
        }
        Ok(all)
    }
}

/// The write end of a new life pipe, and the lifetime that hangs on it.
pub(crate) fn attached(remove: Vec<PathBuf>) -> Result<(PipeWriter, Lifetime)> {
    let (pipe, life) = std::io::pipe()?;
    Ok((life, Lifetime::Attached { pipe: pipe.into(), remove }))
}

impl Subject {
    /// Waits for its end and fails if there is none.
    pub(crate) async fn exit(&self) -> Result<Exit> {
        let exit = self.machine.wait(END_WITHIN).await?;
        let end = || self.last_said().unwrap_or_else(|e| e.to_string());
        exit.ok_or_else(|| {
            Failure::broken(format!("still running after {END_WITHIN:?}, having said {:?}", end()))
        })
    }

    pub(crate) async fn is(&self, state: State) -> Result {
        same("state", self.machine.state().await?, state)
    }

    /// All that its guest has said.
    pub(crate) fn said(&self) -> Result<String> {
        let text = self.machine.console().last(u64::MAX)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Fails unless the guest has said `word`.
    pub(crate) fn has_said(&self, word: &str) -> Result {
        let end = self.last_said()?;
        let said = self.said()?;
        require(said.contains(word), || format!("'{word}' is not on the console: {end:?}"))
    }

    /// The end of what its guest has said, for an error.
    fn last_said(&self) -> Result<String> {
        let end = self.machine.console().last(MAX_QUOTED)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    }

    /// Waits until the guest has said `word`.
    pub(crate) async fn says(&self, word: &str) -> Result {
        let deadline = Instant::now() + END_WITHIN;
        while !self.said()?.contains(word) {
            if Instant::now() > deadline || self.machine.state().await? == State::Stopped {
                return self.has_said(word);
            }
            tokio::time::sleep(traces::LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Destroys it, and fails if anything is left.
    pub(crate) async fn destroyed(&self) -> Result {
        self.machine.destroy().await?;
        self.is_gone().await
    }

    /// Fails if any process or file of it is left.
    pub(crate) async fn is_gone(&self) -> Result {
        traces::no_process(self.dir.path()).await?;
        let left = traces::files(self.dir.path());
        require(left.is_empty(), || format!("files left behind: {left:?}"))
    }
}
