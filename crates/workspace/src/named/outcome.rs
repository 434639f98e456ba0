//! What came of a workspace, and how much of the host it takes.

use std::fs;
use std::io;

use microagent_backend::MachineStats;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::client::{ask, exchange, rest};
use super::lifecycle::Step;
use super::protocol::Ask;
use super::registered::Registered;
use super::standing::Standing;
use crate::{CommandResult, Footprint, Name, RunError, StateDir};

/// What a workspace takes of the host. Its JSON form is part of the command-line interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Memory of the machine's processes, where it can be seen.
    pub memory: Option<Footprint>,
    /// Processor time of the machine's processes, in milliseconds.
    pub cpu_ms: u64,
    /// Proportional set size of the shim, in KiB.
    pub shim_kib: Option<u64>,
    /// What the machine counts, where its supervisor does.
    pub counters: Option<MachineStats>,
}

/// Waits until a workspace is at rest.
///
/// # Errors
/// `NoWorkspace`, and what looking at it meets.
pub async fn wait(state: &StateDir, name: &Name) -> Result<Standing, RunError> {
    let workspace = Registered::find(state, name)?;
    if workspace.standing()?.state.is_resting() {
        return workspace.standing();
    }
    match rest(&workspace).await {
        // The shim was killed, or had just gone.
        Err(RunError::Shim { .. }) if workspace.standing()?.state.is_resting() => {
            workspace.standing()
        }
        standing => standing,
    }
}

/// What came of the workspace's command when that ended last; none if it never has.
///
/// # Errors
/// `NoWorkspace`, and what reading it meets.
pub fn result(state: &StateDir, name: &Name) -> Result<Option<CommandResult>, RunError> {
    let workspace = Registered::find(state, name)?;
    let path = workspace.file(super::RESULT);
    let failed = |e| RunError::state(format!("cannot read {}", path.display()), e);
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text.map_err(failed)?).map_err(|e| failed(e.into())),
    }
}

/// What a workspace takes now.
///
/// # Errors
/// `WrongMoment` for one that is at rest, and what asking its shim meets.
pub async fn usage(state: &StateDir, name: &Name) -> Result<Usage, RunError> {
    let workspace = Registered::find(state, name)?;
    let standing = workspace.standing()?;
    if standing.state.is_resting() {
        let hint = format!("microagent start {name}");
        return Err(workspace.wrong_moment(standing.state, Step::Halt, &hint));
    }
    ask(&workspace, Ask::Usage).await
}

/// The last of what the guest's console says or said.
///
/// # Errors
/// `NoWorkspace`, and what reading it meets.
pub async fn console(state: &StateDir, name: &Name) -> Result<Vec<u8>, RunError> {
    let workspace = Registered::find(state, name)?;
    let path = workspace.file("console.log");
    if !workspace.standing()?.state.is_resting() {
        let failed = |e| RunError::Shim { workspace: name.to_string(), source: e };
        let (mut stream, answer) = exchange(&workspace, Ask::Console).await.map_err(failed)?;
        answer.map_err(RunError::from)?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.map_err(|e| failed(e.into()))?;
        return Ok(text);
    }
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.map_err(|e| RunError::state(format!("cannot read {}", path.display()), e)),
    }
}
