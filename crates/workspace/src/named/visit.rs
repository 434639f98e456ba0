//! A session with the agent of a workspace that is at rest: its machine is up for that alone.
//!
//! The machine is this process's and goes with it. It has the workspace's disks and neither
//! network nor channel, and runs neither setup nor command. The workspace stays in the state that
//! it is in, and has no other machine meanwhile: its turn and its lock are held.

use std::fs;

use microagent_backend::RunDir;
use microagent_vsock::Session;

use super::create::DISK;
use super::manifest::Manifest;
use super::recover::recover;
use super::registered::Registered;
use super::standing::Standing;
use super::verification::Verification;
use crate::run::Flow;
use crate::{Interrupts, Network, RunError, RunIo, RunRequest, Tools};

/// Does something by the agent of a workspace that is at rest.
///
/// # Errors
/// `InUse` where somebody started it meanwhile; `ImageMoved`, `Diverged`; what starting the
/// machine, doing it and ending the machine meet.
pub(super) async fn visit<T>(
    workspace: &Registered,
    tools: &Tools,
    io: &mut RunIo,
    what: impl AsyncFnOnce(&Session, &mut Interrupts) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let _turn = workspace.turn().await?;
    if workspace.shim()?.is_some() || workspace.is_orphaned()? {
        return Err(RunError::InUse(format!("workspace {}", workspace.name())));
    }
    recover(workspace, tools).await?;
    let manifest = workspace.manifest()?;
    manifest.verification.check(&manifest.origin, &Verification::again(tools, &manifest)?)?;
    let directory = workspace.taken().await?;
    let before = Standing::read(workspace.path())?;
    RunDir::create(workspace.run())?;
    let request = bare(&manifest)?;
    let mut flow = Flow::borrowed(&request, tools, directory);
    let up = come_up(workspace, &manifest, &mut flow, io).await;
    let done = match (up, flow.session.clone()) {
        (Err(error), _) => Err(error),
        (Ok(()), Some(session)) => what(&session, &mut io.interrupts).await,
        (Ok(()), None) => Err(RunError::Lost {
            reason: "there is no session with its agent".into(),
            console: Vec::new(),
        }),
    };
    let down = flow.give_back(io).await;
    let run = workspace.run();
    let removed = fs::remove_dir_all(&run)
        .map_err(|e| RunError::state(format!("cannot remove {}", run.display()), e));
    // Only now is there nothing left to be found by what was written down for it.
    let restored = removed.and_then(|()| before.write(workspace.path()));
    done.and_then(|done| down.and(restored).map(|()| done))
}

/// What a start asks for, without all that is not files.
fn bare(manifest: &Manifest) -> Result<RunRequest, RunError> {
    let request = manifest.request()?;
    let (network, setup) = (Network::Isolated, Vec::new());
    Ok(RunRequest { network, setup, mediation: None, ..request })
}

async fn come_up(
    workspace: &Registered,
    manifest: &Manifest,
    flow: &mut Flow<'_>,
    io: &mut RunIo,
) -> Result<(), RunError> {
    flow.check_disks()?;
    let (disk, defaults) = (workspace.file(DISK), manifest.defaults.clone());
    let prepared = flow.prepare_again(disk, defaults, io).await?;
    // By which what is left of the machine is found, should this process be killed.
    let found_by = Standing::read(workspace.path())?;
    let found_by = found_by.runs_on(&flow.request.supervisor, prepared.choice.backend.name());
    found_by.write(workspace.path())?;
    flow.build(&prepared, io).await?;
    flow.boot(io).await
}
