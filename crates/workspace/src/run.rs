//! The run flow: from a request to the end of its command.
//!
//! ```text
//! resolve ─► rootfs ─► kernel ─► choose ─► disk ─► create ─► boot ─► mount ─► setup ─► command
//!     ─► outputs ─► unwind
//! ```
//! Each step is a phase of the report. Whatever happens, [`unwind`](Flow::unwind) runs, in
//! the reverse order of what was made. Should this process be killed, the life pipe does the
//! same from outside: see [`microagent_backend::Lifetime`].

mod collect;
mod commands;
mod leave;
mod machine;
mod mediation;
mod prepare;
mod shutdown;

use std::sync::Arc;

use jiff::Timestamp;
use microagent_backend::Machine;
use microagent_guest_protocol::Token;
use microagent_vsock::{AgentListener, Session};

use crate::directory::{WorkspaceDir, sweep};
use crate::interrupt::Interrupt;
use crate::named::{Found, Front};
use crate::volumes::HeldVolume;
use crate::{
    CommandResult, DiskRequest, Ending, Phases, ReportedImage, ReportedResources, RunError, RunIo,
    RunReport, RunRequest, Tools, attach, footprint, outputs,
};
pub(crate) use collect::{Wanted, fetch};
pub(crate) use machine::{end_text, ended, last_lines};
pub use prepare::{DryRun, dry_run};
pub(crate) use shutdown::{DEADLINE, heard, judge, not_written_back};

/// Runs a request to its end and leaves nothing behind unless it is to be kept.
///
/// The report tells how far it came even where it failed.
pub async fn run(
    request: &RunRequest,
    tools: &Tools,
    mut io: RunIo,
) -> (RunReport, Result<Ending, RunError>) {
    let mut flow = match io.leave {
        Some(_) => Flow::leavable(request, tools),
        None => Flow::new(request, tools),
    };
    let driven = flow.drive(&mut io).await;
    let ending = match driven {
        Err(RunError::Interrupted(Interrupt::Timeout)) => Ok(Ending::TimedOut),
        Err(RunError::Interrupted(Interrupt::Signal(signal))) => Ok(Ending::Interrupted { signal }),
        other => other,
    };
    let ending = flow.judge_channel(ending).await;
    flow.note_code(&ending);
    let unwound = flow.unwind(&ending, &mut io).await;
    flow.finish(ending.and_then(|ending| unwound.map(|()| ending)))
}

/// A run on its way, and all that must be undone when it ends.
pub(crate) struct Flow<'a> {
    tenure: Tenure,
    pub(crate) request: &'a RunRequest,
    tools: &'a Tools,
    pub(crate) report: RunReport,
    phases: Phases,
    pub(crate) directory: Option<WorkspaceDir>,
    life: Option<machine::LifeLine>,
    pub(crate) machine: Option<Box<dyn Machine>>,
    listener: Option<AgentListener>,
    /// Whether the channel's target was there.
    reached: bool,
    channel: Option<mediation::Open>,
    pub(crate) session: Option<Arc<Session>>,
    /// What the agent shows.
    pub(crate) token: Option<Token>,
    /// What a workspace that is kept is known by.
    pub(crate) found: Option<Found>,
    /// Ours until the machine has ended.
    volumes: Vec<HeldVolume>,
    /// The workspace of a run that can be left.
    front: Option<Front>,
}

/// Whose a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// This process's: it goes with it.
    Attached,
    /// A workspace's that lasts: it stays until it is ended.
    Detached,
    /// This process's, until it is left: a workspace's that lasts from then on, and should this
    /// process be killed.
    Leavable,
    /// This process's, with the disk of a workspace that lasts: it goes with the process, the
    /// disk stays.
    Borrowed,
}

impl<'a> Flow<'a> {
    /// A workspace that lasts: what it is made of, or its machine where its directory is held.
    pub(crate) fn detached(
        request: &'a RunRequest,
        tools: &'a Tools,
        directory: Option<WorkspaceDir>,
    ) -> Self {
        let flow = Self::new(request, tools);
        Self { tenure: Tenure::Detached, directory, ..flow }
    }

    fn leavable(request: &'a RunRequest, tools: &'a Tools) -> Self {
        Self { tenure: Tenure::Leavable, ..Self::new(request, tools) }
    }

    /// A machine of this process's for the disk of a workspace that lasts, whose directory is
    /// held.
    pub(crate) fn borrowed(
        request: &'a RunRequest,
        tools: &'a Tools,
        directory: WorkspaceDir,
    ) -> Self {
        let flow = Self::new(request, tools);
        Self { tenure: Tenure::Borrowed, directory: Some(directory), ..flow }
    }

    pub(crate) fn new(request: &'a RunRequest, tools: &'a Tools) -> Self {
        let report = RunReport {
            workspace: request.name.to_string(),
            resources: ReportedResources {
                memory_mib: request.resources.memory_mib.0,
                cpus: request.resources.cpus,
                size_mib: request.resources.size_mib,
            },
            image: ReportedImage { reference: request.origin.to_string(), digest: None },
            final_state: "failed",
            ..RunReport::default()
        };
        Self {
            tenure: Tenure::Attached,
            request,
            tools,
            report,
            phases: Phases::default(),
            directory: None,
            life: None,
            machine: None,
            listener: None,
            reached: false,
            channel: None,
            session: None,
            token: None,
            found: None,
            volumes: Vec::new(),
            front: None,
        }
    }

    async fn drive(&mut self, io: &mut RunIo) -> Result<Ending, RunError> {
        sweep(&self.tools.state)?;
        self.check_disks()?;
        outputs::prepare(self.request)?;
        self.look_for_target(io).await?;
        let mut prepared = self.prepare(io).await?;
        self.settle_tenure(&mut prepared)?;
        self.build(&prepared, io).await?;
        self.open_channel(io)?;
        self.boot(io).await?;
        let ending = self.run_commands(&prepared, io).await?;
        if ending == Ending::Left {
            return Ok(ending);
        }
        self.collect(&ending, io).await?;
        self.measure().await;
        Ok(ending)
    }

    /// Refuses disks that cannot be had; the volumes among them are ours from now on.
    pub(crate) fn check_disks(&mut self) -> Result<(), RunError> {
        self.volumes = attach::check(&self.request.disks, &self.tools.state)?;
        Ok(())
    }

    /// Makes the volumes of a machine ours that runs already.
    pub(crate) fn hold_volumes(&mut self) -> Result<(), RunError> {
        self.volumes = attach::hold_volumes(&self.request.disks, &self.tools.state)?;
        Ok(())
    }

    /// Looks at the machine's memory, while it is as the command left it.
    async fn measure(&mut self) {
        if let Some(machine) = self.machine.as_ref().filter(|_| self.request.measure) {
            let memory = self.request.resources.memory_mib;
            self.report.footprint = footprint::of_machine(machine.as_ref(), memory).await;
            self.phases.skip();
        }
    }

    /// Ends what `drive` made. Errors are collected: the first is the one reported, and
    /// none keeps the rest from being undone.
    async fn unwind(
        &mut self,
        ending: &Result<Ending, RunError>,
        io: &mut RunIo,
    ) -> Result<(), RunError> {
        if let (Ok(Ending::Left), Some(leave)) = (ending, &io.leave) {
            return self.hand_over(&leave.shim).await;
        }
        let mut first: Result<(), RunError> = Ok(());
        let lasts = self.request.disks.iter().any(DiskRequest::lasts);
        if (self.request.keep || lasts) && ending.is_ok() {
            first = self.shut_down(io).await;
        }
        first = first.and(self.take_down(io).await);
        if let Some(directory) = self.directory.take()
            && let Err(e) = self.keep_or_remove(directory, ending, first.as_ref().err())
        {
            first = first.and(Err(e));
        }
        self.volumes.clear();
        // Last: until here it stands for us should we be killed.
        self.life = None;
        self.phases.end("unwind");
        first
    }

    /// Ends a machine that was borrowed, its disks written back.
    pub(crate) async fn give_back(mut self, io: &mut RunIo) -> Result<(), RunError> {
        let ended = self.shut_down(io).await;
        let down = self.take_down(io).await;
        self.volumes.clear();
        // Last: until here it stands for us should we be killed.
        self.life = None;
        ended.and(down)
    }

    /// Ends the machine, whatever it is doing, and what was open for it.
    pub(crate) async fn take_down(&mut self, io: &RunIo) -> Result<(), RunError> {
        self.listener = None;
        self.channel = None;
        self.session = None;
        let Some(machine) = self.machine.take() else { return Ok(()) };
        self.keep_console(machine.as_ref(), io);
        Ok(machine.destroy().await?)
    }

    fn finish(mut self, ending: Result<Ending, RunError>) -> (RunReport, Result<Ending, RunError>) {
        match &ending {
            Ok(Ending::Left) => self.report.final_state = "running",
            Ok(_) => self.report.final_state = "stopped",
            Err(_) => {}
        }
        self.report.phases = std::mem::take(&mut self.phases).into_vec();
        (self.report, ending)
    }

    /// Before the result is kept.
    fn note_code(&mut self, ending: &Result<Ending, RunError>) {
        if let (Ok(ending), Some(result)) = (ending, &mut self.report.result) {
            result.exit_code = ending.exit_code();
        }
    }

    fn note_start(&mut self) {
        self.report.result =
            Some(CommandResult { started_at: now(), exited_at: now(), ..Default::default() });
    }

    fn note_end(&mut self, signal: Option<i32>) {
        if let Some(result) = &mut self.report.result {
            result.exited_at = now();
            result.signal = signal;
        }
    }
}

pub(crate) fn now() -> String {
    Timestamp::now().to_string()
}
