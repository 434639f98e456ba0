//! Ending, pausing and resuming a workspace.

use std::time::Duration;

use microagent_process::Process;

use super::client::ask;
use super::lifecycle::{State, Step};
use super::protocol::Ask;
use super::recover::recover;
use super::registered::Registered;
use super::standing::Standing;
use super::start::{Accept, ShimProgram, StartRequest, start, wait_ready};
use crate::attend::SIGNAL_GRACE;
use crate::run::DEADLINE;
use crate::{Name, RunError, Tools};

/// How long a run at a terminal that is killed may take to give the terminal back.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// How a workspace is asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Halt {
    /// After how long it is ended anyway; otherwise its guest has all the time that it needs
    /// to write back its disks.
    pub force_after: Option<Duration>,
}

/// Has a workspace end in order: its processes are asked to, and killed after ten seconds; its
/// disks are written back. One that rests already is fine; one whose shim was killed is taken up
/// for it by another.
///
/// # Errors
/// `NoWorkspace`, `NotWrittenBack`, what talking to its shim meets.
pub async fn halt(
    tools: &Tools,
    shim: &ShimProgram,
    name: &Name,
    how: Halt,
) -> Result<Standing, RunError> {
    if Registered::find(&tools.state, name)?.is_orphaned()? {
        let request =
            StartRequest { name: name.clone(), supervisor: None, accept: Accept::Nothing };
        start(&request, tools, shim).await?;
        wait_ready(tools, name).await?;
    }
    let limit = how.force_after.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    end(tools, name, Ask::Halt { force_after_ms: limit }).await
}

/// Ends a workspace at once, as a loss of power would. One that rests already is fine.
///
/// # Errors
/// As [`halt`].
pub async fn kill(tools: &Tools, name: &Name) -> Result<Standing, RunError> {
    end(tools, name, Ask::Kill).await
}

async fn end(tools: &Tools, name: &Name, how: Ask) -> Result<Standing, RunError> {
    let workspace = Registered::find(&tools.state, name)?;
    // A start that is under way comes first; what follows may take long, and others may want
    // to end it faster.
    drop(workspace.turn().await?);
    if let Some(shim) = workspace.shim()? {
        let forced = matches!(how, Ask::Kill);
        if workspace.is_at_terminal()? {
            end_at_terminal(&workspace, &shim, &how).await?;
            // It may just have been left: then a shim has it, and was asked for nothing.
            return match workspace.shim()? {
                Some(_) => Box::pin(end(tools, name, how)).await,
                None => at_rest(&workspace, tools).await,
            };
        }
        let answer = ask::<Standing>(&workspace, how).await;
        match answer {
            Err(error) if !forced && !error.is_of_a_shim_that_goes() => return Err(error),
            Err(_) if forced => {
                // It hangs, or is going; what is left of its machine is ended below.
                let failed = |e| RunError::state(format!("cannot kill the shim of {name}"), e);
                shim.kill().map_err(failed)?;
            }
            _ => {}
        }
        workspace.ended(&shim).await.map_err(|late| answer.err().unwrap_or(late))?;
    }
    at_rest(&workspace, tools).await
}

/// How a workspace is whose shim has ended; what that left behind is removed.
async fn at_rest(workspace: &Registered, tools: &Tools) -> Result<Standing, RunError> {
    let _turn = workspace.turn().await?;
    if workspace.shim()?.is_none() {
        recover(workspace, tools).await?;
    }
    workspace.standing()
}

/// Ends a run at a terminal as who works there would. Only where that is to be, and does not
/// help in time, it is killed.
async fn end_at_terminal(workspace: &Registered, run: &Process, how: &Ask) -> Result<(), RunError> {
    let failed = |e| RunError::state(format!("cannot end the run of {}", workspace.name()), e);
    let (patience, forced) = match how {
        Ask::Kill => (KILL_AFTER, true),
        Ask::Halt { force_after_ms: Some(limit) } => (Duration::from_millis(*limit), true),
        _ => (SIGNAL_GRACE + DEADLINE, false),
    };
    run.ask_to_end(*how == Ask::Kill).map_err(failed)?;
    if run.ended_within(patience).await.map_err(failed)? {
        return Ok(());
    }
    if !forced {
        return Err(RunError::Timeout { what: "the end of its run", limit: patience });
    }
    run.kill().map_err(failed)?;
    workspace.ended(run).await
}

/// Stops the vCPUs of a workspace. One that is paused already is fine.
///
/// # Errors
/// `WrongMoment`, and where its supervisor cannot.
pub async fn pause(tools: &Tools, name: &Name) -> Result<Standing, RunError> {
    change(tools, name, Ask::Pause, Step::Pause).await
}

/// Lets the vCPUs of a workspace go on. One that runs already is fine.
///
/// # Errors
/// As [`pause`].
pub async fn resume(tools: &Tools, name: &Name) -> Result<Standing, RunError> {
    change(tools, name, Ask::Resume, Step::Resume).await
}

async fn change(tools: &Tools, name: &Name, op: Ask, step: Step) -> Result<Standing, RunError> {
    let workspace = Registered::find(&tools.state, name)?;
    let standing = workspace.standing()?;
    match (standing.state, step) {
        (State::Paused, Step::Pause) | (State::Running, Step::Resume) => Ok(standing),
        (state, _) if state.is_resting() => {
            Err(workspace.wrong_moment(state, step, &format!("microagent start {name}")))
        }
        _ => ask(&workspace, op).await,
    }
}
