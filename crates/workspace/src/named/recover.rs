//! What is done about a workspace whose shim was killed.

use std::fs;
use std::io;

use microagent_backend::{ErrorKind, RunDir};
use microagent_supervisor::Selection;

use super::registered::Registered;
use super::standing::Standing;
use crate::events::{Event, Events};
use crate::{RunError, Tools};

/// Ends what is left of a machine that nobody owns any more, writes down that the workspace
/// failed, and removes its run directory. Whoever calls has the turn.
///
/// # Errors
/// What ending it meets.
pub(super) async fn recover(workspace: &Registered, tools: &Tools) -> Result<(), RunError> {
    let written = Standing::read(workspace.path())?;
    if workspace.machine().exists() {
        end_machine(workspace, tools, written.supervisor.as_deref()).await?;
    }
    // After the machine: whoever finds it resting may start another.
    let standing = workspace.standing()?;
    if standing.state != written.state {
        standing.write(workspace.path())?;
        let error = standing.error.map(|told| told.message);
        Events::at(workspace.path()).add(&Event::State { state: standing.state, error });
    }
    let run = workspace.run();
    match fs::remove_dir_all(&run) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(RunError::state(format!("cannot remove {}", run.display()), e))
        }
        _ => Ok(()),
    }
}

async fn end_machine(
    workspace: &Registered,
    tools: &Tools,
    supervisor: Option<&str>,
) -> Result<(), RunError> {
    // Without one it was not as far as having a machine.
    let Some(supervisor) = supervisor else { return Ok(()) };
    let backend = tools.registry.chosen(&Selection::parse(supervisor)?).await?;
    match backend.open(&RunDir::at(workspace.machine())).await {
        Ok(machine) => Ok(machine.destroy().await?),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}
