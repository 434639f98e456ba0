//! Making a workspace: its disk and its manifest.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::lifecycle::State;
use super::manifest::{Found, Manifest, RestartPolicy};
use super::standing::{Standing, Told};
use crate::command::argv;
use crate::directory::{WorkspaceDir, sweep};
use crate::events::{Event, Events};
use crate::run::Flow;
use crate::{CommandRequest, RunError, RunIo, RunRequest, Tools, check_disks};

/// A workspace that is asked for.
#[derive(Debug)]
pub struct CreateRequest {
    /// What a run would be asked for; without a command its machine is there for those of
    /// others.
    pub run: RunRequest,
    /// What follows when it ends.
    pub restart: RestartPolicy,
}

/// A workspace that was made.
#[derive(Debug)]
pub struct Created {
    /// What it was made of.
    pub manifest: Manifest,
    /// Its disk.
    pub disk: PathBuf,
}

/// Name of the disk.
pub(super) const DISK: &str = "rootfs.ext4";

/// Makes a workspace and starts nothing. What is not whole is not there.
///
/// # Errors
/// `Conflict` where the name is taken; what finding the image, its disk, the kernel and a
/// supervisor that can run it meets.
pub async fn create(
    request: &CreateRequest,
    tools: &Tools,
    mut io: RunIo,
) -> Result<Created, RunError> {
    let run = &request.run;
    sweep(&tools.state)?;
    // Where one is in use now, it may be free at the start.
    match check_disks(&run.disks, &tools.state) {
        Err(RunError::InUse(_)) => {}
        other => other?,
    }
    let mut flow = Flow::detached(run, tools, None);
    let prepared = flow.prepare(&mut io).await?;
    let command = match &run.command {
        CommandRequest::Program { entrypoint: None, arguments } if arguments.is_empty() => None,
        command => Some(argv(command, &prepared.defaults, &run.shell)?),
    };
    let Some(found) = flow.found.take() else {
        return Err(RunError::usage("a workspace is made of what is kept"));
    };
    let directory = WorkspaceDir::create(&tools.state, &run.name)?;
    let disk = directory.file(DISK);
    if let Err(error) = make_disk(&prepared.base, &disk) {
        return directory.remove().and(Err(error));
    }
    let manifest = Manifest::new(run, Found { command, ..found }, request.restart);
    // What has no manifest is no workspace: it comes last.
    if let Err(error) = manifest.write(directory.path()) {
        return directory.remove().and(Err(error));
    }
    Events::of(&directory).add(&Event::State { state: State::Created, error: None });
    Ok(Created { manifest, disk })
}

pub(super) fn make_disk(base: &Path, disk: &Path) -> Result<(), RunError> {
    microagent_rootfs::clone_for_run(base, disk, None)?;
    let synced = File::open(disk).and_then(|file| file.sync_all());
    synced.map_err(|e| RunError::state(format!("cannot write {}", disk.display()), e))
}

/// Makes a workspace of what a run that is to be kept leaves in its directory: one that has
/// been set up, and is at rest, though its end may have gone wrong.
pub(crate) fn keep(
    directory: &WorkspaceDir,
    request: &RunRequest,
    found: &Found,
    error: Option<Told>,
) -> Result<(), RunError> {
    let manifest = Manifest::new(request, found.clone(), RestartPolicy::Never);
    Standing::kept(error).write(directory.path())?;
    // What has no manifest is no workspace: it comes last.
    manifest.write(directory.path())
}
