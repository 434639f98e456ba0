//! A workspace that a run at a terminal has made and holds, until that terminal is left.
//!
//! What is written down of it is what a shim writes down, so that one can follow: when the
//! terminal is left, and just so when the run is killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use microagent_backend::RunDir;
use microagent_guest_protocol::Token;

use super::create::{DISK, make_disk};
use super::lifecycle::{State, Step};
use super::manifest::{Found, Manifest, RestartPolicy};
use super::registered::Registered;
use super::shim::AgentRecord;
use super::standing::Standing;
use super::start::{ShimProgram, follow};
use crate::directory::WorkspaceDir;
use crate::events::{Event, Events};
use crate::{RunError, RunRequest};

/// A workspace whose machine is this process's to end.
#[derive(Debug)]
pub(crate) struct Front {
    workspace: Registered,
    standing: Standing,
}

impl Front {
    /// Makes a workspace of what a run found, whose machine `backend` will make.
    ///
    /// # Errors
    /// What making its disk and writing it down meets.
    pub(crate) fn begin(
        directory: &WorkspaceDir,
        request: &RunRequest,
        (found, base): (&Found, &Path),
        backend: &str,
    ) -> Result<Self, RunError> {
        let path = directory.path().to_owned();
        make_disk(base, &path.join(DISK))?;
        let workspace = Registered::at(path, request.name.clone());
        drop(RunDir::create(workspace.run())?);
        workspace.record_front()?;
        let standing = Standing::created().runs_on(&request.supervisor, backend);
        let mut front = Self { workspace, standing };
        front.step(Step::Start)?;
        // What has no manifest is no workspace: it comes last, and before there is a machine.
        let manifest = Manifest::new(request, found.clone(), RestartPolicy::Never);
        manifest.write(directory.path())?;
        Ok(front)
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.workspace.file(DISK)
    }

    /// Writes down by what its agent is known again.
    pub(crate) fn note_agent(&self, token: Token) -> Result<(), RunError> {
        AgentRecord::new(token).write(&self.workspace)
    }

    /// Its setup is done, and the command of this id is about to be asked for, at a terminal or
    /// not.
    pub(crate) fn up(&mut self, command: u32, terminal: bool) -> Result<(), RunError> {
        let record = AgentRecord::read(&self.workspace)?.with_command(command, terminal);
        record.write(&self.workspace)?;
        self.standing.set_up = true;
        self.step(Step::Ready)
    }

    /// It is written down that it rests: what is there only with a machine goes.
    pub(crate) fn at_rest(
        self,
        directory: &WorkspaceDir,
        error: Option<&RunError>,
    ) -> Result<(), RunError> {
        let error = error.map(|error| crate::error::chain(error));
        Events::of(directory).add(&Event::State { state: State::Stopped, error });
        let run = self.workspace.run();
        match fs::remove_dir_all(&run) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(RunError::state(format!("cannot remove {}", run.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// Has a shim take up the machine, which this process has let go of but for the lock.
    ///
    /// # Errors
    /// What starting the shim meets.
    pub(crate) async fn hand_over(self, lock: File, shim: &ShimProgram) -> Result<(), RunError> {
        follow(&self.workspace, lock, shim).await
    }

    fn step(&mut self, step: Step) -> Result<(), RunError> {
        let refused = |e: super::lifecycle::Refused| RunError::usage(e.to_string());
        self.standing = self.standing.after(step).map_err(refused)?;
        self.standing.write(self.workspace.path())?;
        let event = Event::State { state: self.standing.state, error: None };
        Events::at(self.workspace.path()).add(&event);
        Ok(())
    }
}
