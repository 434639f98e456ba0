//! A run that can be left while its command goes on.

use microagent_machine::Feature;

use super::prepare::Prepared;
use super::{Flow, Tenure};
use crate::RunError;
use crate::directory::WorkspaceDir;
use crate::named::{Front, ShimProgram};

impl Flow<'_> {
    /// Makes the workspace of a run that can be left, before there is a machine: should this
    /// process be killed, it is how that is found. Where the supervisor's machines go with who
    /// made them, the run cannot be left.
    pub(super) fn settle_tenure(&mut self, prepared: &mut Prepared) -> Result<(), RunError> {
        if self.tenure != Tenure::Leavable {
            return Ok(());
        }
        let features = &prepared.choice.capabilities.features;
        let Some(found) = self.found.as_ref().filter(|_| features.contains(&Feature::Detached))
        else {
            self.tenure = Tenure::Attached;
            return Ok(());
        };
        let directory = WorkspaceDir::create(&self.tools.state, &self.request.name)?;
        let directory = self.directory.insert(directory);
        let backend = prepared.choice.backend.name();
        let front = Front::begin(directory, self.request, (found, &prepared.base), backend)?;
        prepared.base = front.disk();
        self.front = Some(front);
        Ok(())
    }

    /// Lets go of the machine, and has a shim take it up.
    pub(super) async fn hand_over(&mut self, shim: &ShimProgram) -> Result<(), RunError> {
        self.listener = None;
        self.channel = None;
        self.session = None;
        self.machine = None;
        self.volumes.clear();
        let (Some(front), Some(directory)) = (self.front.take(), self.directory.take()) else {
            return Ok(());
        };
        front.hand_over(directory.into_lock(), shim).await
    }
}
