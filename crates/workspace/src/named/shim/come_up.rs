//! Bringing a workspace's machine up.

use super::Shim;
use super::take_up::AgentRecord;
use crate::named::create::DISK;
use crate::named::manifest::Manifest;
use crate::named::standing::Told;
use crate::run::Flow;
use crate::{Ending, Interrupt, Progress, RunError, RunIo, RunRequest};

/// By which what starts up is asked to end.
pub(super) const SIGTERM: i32 = 15;

/// Brings the machine up to where commands can be run.
pub(super) async fn start(
    shim: &Shim,
    flow: &mut Flow<'_>,
    manifest: &Manifest,
    io: &mut RunIo,
) -> Result<(), RunError> {
    flow.check_disks()?;
    flow.look_for_target(io).await?;
    let (disk, defaults) = (shim.workspace.file(DISK), manifest.defaults.clone());
    let prepared = flow.prepare_again(disk, defaults, io).await?;
    note_backend(shim, flow.request, prepared.choice.backend.name())?;
    flow.build(&prepared, io).await?;
    if let Some(token) = &flow.token {
        AgentRecord::new(token.clone()).write(&shim.workspace)?;
    }
    flow.open_channel(io)?;
    flow.boot(io).await?;
    match flow.run_setup(&prepared.defaults, io).await? {
        None => Ok(()),
        Some(Ending::Setup { number, line, status }) => {
            let code = Ending::Command(status).exit_code();
            let message = format!("setup {number} '{line}' exited with {code}");
            let hint = Some("`microagent logs` shows what it printed".into());
            Err(Told { kind: "setup".into(), message, hint }.into())
        }
        Some(_) => Err(RunError::Interrupted(Interrupt::Signal(SIGTERM))),
    }
}

/// Writes down by what the machine is found again, before there is one.
fn note_backend(shim: &Shim, request: &RunRequest, name: &str) -> Result<(), RunError> {
    let next = shim.standing.borrow().clone().runs_on(&request.supervisor, name);
    next.write(shim.workspace.path())?;
    shim.standing.send_replace(next);
    Ok(())
}

/// Writes down by what the workspace's command is found again, before there is one.
pub(super) fn note_command(shim: &Shim, id: u32) -> Result<(), RunError> {
    AgentRecord::read(&shim.workspace)?.with_command(id, false).write(&shim.workspace)
}

/// Nobody watches a shim; what it has to say goes to its log.
pub(super) struct Silent;

impl Progress for Silent {
    fn resolving(&self, _: &str) {}
    fn layer(&self, _: &str, _: u64, _: Option<u64>) {}
    fn layer_done(&self, _: &str) {}
    fn building_rootfs(&self, _: &str) {}
    fn bundling(&self, _: &str) {}
    fn booting(&self, _: &str) {}
    fn setting_up(&self, _: usize, _: &str) {}
    fn running(&self) {}
    fn ended(&self) {}
    fn note(&self, text: &str) {
        tracing::warn!("{text}");
    }
    fn console(&self, _: &[u8]) {}
}
