//! Bringing the host back to clean.

use std::fs;

use super::delete::{Force, delete};
use super::list::list;
use super::recover::recover;
use super::registered::Registered;
use crate::directory::sweep;
use crate::{Name, RunError, Tools};

/// Which workspaces go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// None: only what killed commands left.
    Remains,
    /// Those that are at rest as well.
    Resting,
}

/// What was done about what was found.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Workspaces whose shim was killed and whose machine was ended.
    pub recovered: Vec<Name>,
    /// Workspaces that were removed.
    pub removed: Vec<Name>,
    /// What could not be done, by workspace.
    pub failed: Vec<(Name, RunError)>,
}

/// Removes what killed commands left, ends machines that nobody owns, and removes workspaces
/// as `what` says.
///
/// # Errors
/// Where the workspaces cannot be listed; what is wrong with one stands in the answer.
pub async fn prune(tools: &Tools, what: Prune) -> Result<Pruned, RunError> {
    sweep(&tools.state)?;
    let mut pruned = Pruned::default();
    for listed in list(&tools.state)? {
        let name = listed.name;
        match mend(tools, &name).await {
            Ok(true) => pruned.recovered.push(name.clone()),
            Ok(false) => {}
            Err(RunError::NoWorkspace(_)) => continue,
            Err(error) => {
                pruned.failed.push((name, error));
                continue;
            }
        }
        let resting = listed.found.is_ok_and(|whole| whole.standing.state.is_resting());
        if what == Prune::Resting && resting {
            match delete(tools, &name, Force::No).await {
                Ok(()) => pruned.removed.push(name),
                Err(error) => pruned.failed.push((name, error)),
            }
        }
    }
    Ok(pruned)
}

/// Ends what nobody owns and removes half-written files; whether there was a machine.
async fn mend(tools: &Tools, name: &Name) -> Result<bool, RunError> {
    let workspace = Registered::find(&tools.state, name)?;
    let _turn = workspace.turn().await?;
    if workspace.shim()?.is_some() {
        return Ok(false);
    }
    let had = workspace.run().exists();
    recover(&workspace, tools).await?;
    let entries = fs::read_dir(workspace.path())
        .map_err(|e| RunError::state(format!("cannot read {}", workspace.path().display()), e))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|end| end == "tmp") {
            // Whoever wrote it had the turn, and has it no more.
            let _ = fs::remove_file(path);
        }
    }
    Ok(had)
}
