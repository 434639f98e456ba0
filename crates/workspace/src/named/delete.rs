//! Removing a workspace with all that it holds.

use super::lifecycle::Step;
use super::recover::recover;
use super::registered::Registered;
use super::stop::kill;
use crate::{Name, RunError, Tools};

/// What if a workspace is not at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It stays.
    No,
    /// It is killed first.
    Yes,
}

/// Removes a workspace. That there is none is fine.
///
/// # Errors
/// `WrongMoment` for one that is not at rest, unless by force.
pub async fn delete(tools: &Tools, name: &Name, force: Force) -> Result<(), RunError> {
    match remove(tools, name, force).await {
        Err(RunError::NoWorkspace(_)) => Ok(()),
        other => other,
    }
}

async fn remove(tools: &Tools, name: &Name, force: Force) -> Result<(), RunError> {
    let workspace = Registered::find(&tools.state, name)?;
    let state = workspace.standing()?.state;
    if !state.is_resting() {
        if force == Force::No {
            let message = format!("workspace {name} is {state} and is not removed");
            let hint = format!("`microagent halt {name}` first, or give --force");
            return Err(RunError::WrongMoment { message, hint });
        }
        kill(tools, name).await?;
    }
    let _turn = workspace.turn().await?;
    let standing = workspace.standing()?;
    match workspace.shim()? {
        None => {}
        // Its last step is written down before it goes.
        Some(shim) if standing.state.is_resting() => workspace.ended(&shim).await?,
        Some(_) => {
            let hint = format!("`microagent halt {name}` first, or give --force");
            return Err(workspace.wrong_moment(standing.state, Step::End, &hint));
        }
    }
    recover(&workspace, tools).await?;
    workspace.taken().await?.remove()
}
