//! Making a workspace of another.

use super::create::{DISK, make_disk};
use super::lifecycle::State;
use super::manifest::Manifest;
use super::registered::Registered;
use super::standing::Standing;
use crate::directory::WorkspaceDir;
use crate::events::{Event, Events};
use crate::{Name, RunError, Tools};

/// Makes a workspace with a copy of another's disk, by reflink where the file system can. The
/// other one must be at rest.
///
/// # Errors
/// `NoWorkspace`, `WrongMoment` for one that is not at rest, `Conflict` where the new name is
/// taken.
pub async fn clone(tools: &Tools, from: &Name, to: &Name) -> Result<Manifest, RunError> {
    let workspace = Registered::find(&tools.state, from)?;
    let _turn = workspace.turn().await?;
    let standing = workspace.standing()?;
    if workspace.shim()?.is_some() || !standing.state.is_resting() {
        let hint = format!("microagent halt {from}");
        let message = format!("workspace {from} is {}: its disk is in use", standing.state);
        return Err(RunError::WrongMoment { message, hint });
    }
    workspace.check_rests()?;
    // Nobody else may begin to use it meanwhile.
    let _held = WorkspaceDir::open(&tools.state, from)?;
    let manifest = workspace.manifest()?.named(to);
    let directory = WorkspaceDir::create(&tools.state, to)?;
    let made = make_disk(&workspace.file(DISK), &directory.file(DISK))
        .and_then(|()| Standing::cloned(&standing).write(directory.path()))
        .and_then(|()| manifest.write(directory.path()));
    if let Err(error) = made {
        return directory.remove().and(Err(error));
    }
    Events::of(&directory).add(&Event::State { state: State::Created, error: None });
    Ok(manifest)
}
