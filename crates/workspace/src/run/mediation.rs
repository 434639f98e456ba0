//! The channel of a run: looked for before anything is made, open while the machine lives.

use std::sync::Arc;

use microagent_backend::Machine;
use microagent_vsock::{Channel, Mediation, MediationStatus, Need};
use tokio::task::JoinHandle;

use super::Flow;
use crate::directory::WorkspaceDir;
use crate::events::{Event, Events};
use crate::{Ending, MediationRequest, Progress, ReportedMediation, RunError, RunIo};

/// A channel that is open, and whoever tells of its end.
#[derive(Debug)]
pub(super) struct Open {
    mediation: Mediation,
    teller: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.teller.abort();
    }
}

impl Flow<'_> {
    /// Looks for the target. One that is required must be there.
    pub(crate) async fn look_for_target(&mut self, io: &mut RunIo) -> Result<(), RunError> {
        let Some(request) = &self.request.mediation else { return Ok(()) };
        let probe = async { Ok::<_, RunError>(request.target.probe().await) };
        let probed = io.interrupts.guard(probe).await?;
        self.reached = probed.is_ok();
        let status = MediationStatus { ready: self.reached, ..MediationStatus::default() };
        self.report.mediation = Some(ReportedMediation::of(request).with(status));
        self.phases.end("mediation");
        match (probed, request.need) {
            (Err(source), Need::Required) => {
                Err(RunError::Mediation { target: request.target.to_string(), source })
            }
            (Err(error), Need::Optional) => {
                let target = &request.target;
                io.progress.note(&format!("mediation target {target} is not there yet: {error}"));
                Ok(())
            }
            (Ok(()), _) => Ok(()),
        }
    }

    /// Opens the channel of a machine that has not been started.
    pub(crate) fn open_channel(&mut self, io: &RunIo) -> Result<(), RunError> {
        let (Some(request), Some(machine), Some(directory)) =
            (&self.request.mediation, &self.machine, &self.directory)
        else {
            return Ok(());
        };
        let reached = self.reached;
        self.channel = Some(open(request, reached, machine.as_ref(), directory, &io.progress)?);
        Ok(())
    }

    /// Takes down how the channel is. A command that ended well without it has not done what
    /// was asked for.
    pub(super) async fn judge_channel(
        &mut self,
        ending: Result<Ending, RunError>,
    ) -> Result<Ending, RunError> {
        let Some(Open { mediation, teller }) = &mut self.channel else { return ending };
        let status = mediation.status();
        if status.broken.is_some() {
            // It has been woken; a panic of its own is not ours.
            let _ = teller.await;
        }
        let reported = self.report.mediation.take().map(|reported| reported.with(status.clone()));
        self.report.mediation = reported;
        match (ending, status.broken, &self.request.mediation) {
            // Who takes up what was left sees for itself.
            (Ok(Ending::Left), ..) => Ok(Ending::Left),
            (Ok(ending), Some(reason), Some(request)) if ending.exit_code() == 0 => {
                Ok(Ending::MediationBroken { target: request.target.to_string(), reason })
            }
            (ending, ..) => ending,
        }
    }
}

fn open(
    request: &MediationRequest,
    reached: bool,
    machine: &dyn Machine,
    directory: &WorkspaceDir,
    progress: &Arc<dyn Progress>,
) -> Result<Open, RunError> {
    let path = machine.vsock().listener_path(request.port);
    // Of a process that was killed, if there was one.
    let _ = std::fs::remove_file(&path);
    let channel = Channel { target: request.target.clone(), need: request.need, reached };
    let mediation = Mediation::bind(&path, channel)
        .map_err(|e| RunError::state(format!("cannot listen at {}", path.display()), e))?;
    let broken = mediation.broken();
    let (port, target) = (request.port, request.target.to_string());
    let (events, progress) = (Events::of(directory), progress.clone());
    let teller = tokio::spawn(async move {
        let reason = broken.await;
        progress.note(&format!("mediation to {target} is severed: {reason}"));
        events.add(&Event::MediationBroken { port, target, reason });
    });
    Ok(Open { mediation, teller })
}
