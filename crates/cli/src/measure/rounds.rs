//! The runs themselves.

use std::sync::Arc;

use microagent_workspace::{
    Ending, Footprint, Interrupts, Phase, RunError, RunIo, RunReport, RunRequest, Tools,
};
use tokio::sync::mpsc;

use super::outcome::{Difference, Outcome, Ran, differences};
use super::recorder::Recorder;
use crate::args::{Global, RunArgs};
use crate::failure::Failure;
use crate::progress::Shown;
use crate::{quantity, run, signals, tools};

/// What every run is called from inside, so that it is the same for all.
const HOSTNAME: &str = "microagent";

/// How many signals may wait to be looked at; more of them say nothing new.
const BACKLOG: usize = 16;

/// What is to be run, and how often.
#[derive(Debug)]
pub(super) struct Rounds {
    /// What, and on which supervisors.
    pub(super) run: RunArgs,
    /// How many rounds count.
    pub(super) count: u32,
    /// How many go before them.
    pub(super) warm_up: u32,
}

/// Why there is nothing to report.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It cannot be run at all, on whichever supervisor.
    Failed(Failure),
    /// A signal.
    Signal(i32),
}

/// What came of the runs on one supervisor.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) supervisor: String,
    /// What is the same for all runs, of the last.
    pub(super) report: RunReport,
    pub(super) phases: Vec<Vec<Phase>>,
    pub(super) footprints: Vec<Footprint>,
    /// The first outcome that counts.
    pub(super) outcome: Option<Outcome>,
    /// In what a later one differed from the first.
    pub(super) unsteady: Vec<Difference>,
    /// Why it is not run there any more.
    pub(super) error: Option<Failure>,
}

impl Rounds {
    /// Runs them all, on all supervisors in turn.
    pub(super) async fn run(&self, global: &Global) -> Result<Vec<Measured>, Stopped> {
        let supervisors = self.run.supervisor.iter();
        let mut measured: Vec<_> = supervisors
            .map(|name| Measured { supervisor: name.clone(), ..Measured::default() })
            .collect();
        let mut runner = Runner::new(self, global).await?;
        for round in 0..self.warm_up + self.count {
            for index in order(measured.len(), round) {
                let Some(one) = measured.get_mut(index).filter(|one| one.error.is_none()) else {
                    continue;
                };
                let run = runner.run(&one.supervisor, global).await?;
                one.add(run, round.checked_sub(self.warm_up).map(|round| round + 1))?;
            }
        }
        Ok(measured)
    }

    /// The request of a run on `supervisor`.
    fn request(&self, supervisor: &str, global: &Global) -> Result<RunRequest, Failure> {
        let state = microagent_workspace::StateDir::peek(tools::state_path(global)?)?;
        let args = RunArgs { supervisor: vec![supervisor.to_owned()], ..self.run.clone() };
        let mut request = run::from_args(&args, &tools::config(&state)?, global)?;
        request.measure = true;
        request.hostname.get_or_insert_with(|| HOSTNAME.to_owned());
        Ok(request)
    }
}

/// In which order a round goes over so many: forth and back by turns, so that nobody always
/// runs behind the same one, and what changes steadily falls on each alike.
fn order(count: usize, round: u32) -> Vec<usize> {
    match round % 2 {
        0 => (0..count).collect(),
        _ => (0..count).rev().collect(),
    }
}

/// One run: what is reported of it, how it ended, and what it wrote.
struct Run {
    report: RunReport,
    ending: Result<Ending, RunError>,
    stdout: Recorder,
    stderr: Recorder,
}

impl Measured {
    /// Takes in a run of a round, or of none that counts.
    fn add(&mut self, run: Run, round: Option<u32>) -> Result<(), Stopped> {
        let Run { mut report, ending, stdout, stderr } = run;
        let phases = std::mem::take(&mut report.phases);
        let footprint = report.footprint.take();
        self.report = report;
        let ended = match ending {
            Err(e) if !concerns_supervisor(&e) => return Err(e.into()),
            Err(e) => Err(Failure::from(e)),
            Ok(ending) => signal_of(&ending).map(|signal| (ending.exit_code(), signal)),
        };
        let (exit_code, signal) = match ended {
            Ok(ended) => ended,
            Err(failure) => {
                self.error = Some(failure);
                return Ok(());
            }
        };
        let Some(round) = round else { return Ok(()) };
        let outcome = Outcome { exit_code, signal, stdout: stdout.take(), stderr: stderr.take() };
        self.phases.push(phases);
        self.footprints.extend(footprint);
        match &self.outcome {
            None => self.outcome = Some(outcome),
            Some(first) if self.unsteady.is_empty() => {
                let supervisor = &*self.supervisor;
                let ran = |round, outcome| Ran { supervisor, round, outcome };
                self.unsteady = differences(ran(1, first), ran(round, &outcome));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Whether another supervisor may run what met this.
fn concerns_supervisor(error: &RunError) -> bool {
    match error {
        RunError::Backend(_)
        | RunError::Boot { .. }
        | RunError::Lost { .. }
        | RunError::NotWrittenBack { .. }
        | RunError::Timeout { .. } => true,
        RunError::Usage { .. }
        | RunError::NoCommand
        | RunError::State { .. }
        | RunError::NewerState { .. }
        | RunError::OtherVersion { .. }
        | RunError::NoWorkspace(_)
        | RunError::WrongMoment { .. }
        | RunError::Diverged { .. }
        | RunError::ImageMoved { .. }
        | RunError::Shim { .. }
        | RunError::Told(_)
        | RunError::Conflict(_)
        | RunError::Image(_)
        | RunError::Rootfs(_)
        | RunError::Kernel(_)
        | RunError::Mediation { .. }
        | RunError::Disk { .. }
        | RunError::InUse(_)
        | RunError::Read { .. }
        | RunError::Copy { .. }
        | RunError::Asked { .. }
        | RunError::Interrupted(_) => false,
    }
}

/// The signal that ended a command, if one did; or why there is no end to compare.
fn signal_of(ending: &Ending) -> Result<Option<i32>, Failure> {
    use microagent_workspace::ExitStatus;
    let failure = |kind: &str, message: String| Failure { kind: kind.into(), message, hint: None };
    match ending {
        Ending::Command(ExitStatus::Signal { signal }) => Ok(Some(*signal)),
        Ending::Command(_) => Ok(None),
        Ending::Setup { number, line, .. } => {
            let code = ending.exit_code();
            Err(failure("setup", format!("setup {number} '{line}' ended with {code}")))
        }
        Ending::MediationBroken { target, reason } => {
            Err(failure("unavailable", format!("the mediation to {target} was severed: {reason}")))
        }
        Ending::TimedOut => Err(failure("timeout", "it did not end within --timeout".into())),
        // What is measured is at no terminal.
        Ending::Left => Err(failure("interrupted", "it was left".into())),
        // Told as the end of everything by whoever took the signal.
        Ending::Interrupted { signal } => {
            Err(failure("interrupted", format!("interrupted by signal {signal}")))
        }
    }
}

/// What all runs share.
struct Runner<'a> {
    rounds: &'a Rounds,
    tools: Tools,
    signals: mpsc::Receiver<i32>,
}

impl<'a> Runner<'a> {
    /// Checks everything that can be seen before anything is made.
    async fn new(rounds: &'a Rounds, global: &Global) -> Result<Self, Stopped> {
        let state = microagent_workspace::StateDir::peek(tools::state_path(global)?)?;
        let registry = tools::tools(state)?.registry;
        for supervisor in &rounds.run.supervisor {
            let request = rounds.request(supervisor, global)?;
            if let Some(kernel) = &request.kernel {
                microagent_kernel::inspect(kernel).map_err(RunError::from)?;
            }
            registry.check(&request.supervisor).await.map_err(RunError::from)?;
        }
        let signals = signals::forward().map_err(|e| Failure::other(&e, "cannot take signals"))?;
        Ok(Self { rounds, tools: tools::tools(tools::state(global)?)?, signals })
    }

    /// One run. A signal goes to its command and is the end of everything.
    async fn run(&mut self, supervisor: &str, global: &Global) -> Result<Run, Stopped> {
        let request = self.rounds.request(supervisor, global)?;
        let limit = self.rounds.run.timeout.as_deref().map(quantity::timeout).transpose()?;
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let (stdout, stderr) = (Recorder::default(), Recorder::default());
        let io = RunIo {
            stdin: None,
            terminal: None,
            stdout: stdout.sink(),
            stderr: stderr.sink(),
            interrupts: Interrupts::new(receiver, deadline),
            progress: Arc::new(Shown::new(global)),
            leave: None,
        };
        let running = microagent_workspace::run(&request, &self.tools, io);
        tokio::pin!(running);
        let mut caught = None;
        let (report, ending) = loop {
            tokio::select! {
                biased;
                Some(signal) = self.signals.recv() => {
                    caught = caught.or(Some(signal));
                    // A full channel holds enough of them.
                    let _ = sender.try_send(signal);
                }
                done = &mut running => break done,
            }
        };
        match caught {
            Some(signal) => Err(Stopped::Signal(signal)),
            None => Ok(Run { report, ending, stdout, stderr }),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RunError> for Stopped {
    fn from(error: RunError) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_forth_and_back() {
        let check = |round, expect: &[usize]| assert_eq!(order(3, round), expect, "{round}");
        check(0, &[0, 1, 2]);
        check(1, &[2, 1, 0]);
        check(2, &[0, 1, 2]);
        assert!(order(0, 1).is_empty());
    }
}
