//! The life of a machine from its start to its end, in one task.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::{Exit, Machine};
use microagent_guest_protocol::ExitStatus;
use microagent_machine::MiB;
use microagent_supervisor::Selection;
use microagent_vsock::{Exec, ExecIo, Relay, Session};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::come_up::{SIGTERM, Silent, note_command, start};
use super::look::look;
use super::output::OutputLog;
use super::policy::{Backoff, Ended};
use super::take_up::{Left, Resumed, take_up};
use super::{Demand, How, Shim, unwritten};
use crate::command::exec_request;
use crate::directory::WorkspaceDir;
use crate::named::lifecycle::{State, Step};
use crate::named::manifest::Manifest;
use crate::named::standing::{Standing, Told};
use crate::named::{RESULT, durable};
use crate::run::{
    DEADLINE, Flow, end_text, ended, heard, judge, last_lines, not_written_back, now,
};
use crate::{CommandResult, Ending, Interrupts, RunError, RunIo, Tools};

/// How long a machine may go on whose session was lost.
const LOST: Duration = Duration::from_secs(30);

/// The task that changes the machine.
pub(super) struct Life<'a> {
    shim: &'a Shim,
    tools: &'a Tools,
    demands: mpsc::Receiver<Demand>,
    how: How,
    /// Whether commands could be run since the workspace was started.
    been_up: bool,
}

/// How a machine that was up came to its end.
enum End {
    /// It was asked for.
    Halted { force_after: Option<Duration> },
    /// It was asked for, at once.
    Killed,
    /// Its command ended.
    Command(ExitStatus),
    /// It ended itself, or died.
    Gone(Exit),
}

impl<'a> Life<'a> {
    pub(super) fn new(
        shim: &'a Shim,
        tools: &'a Tools,
        demands: mpsc::Receiver<Demand>,
        how: How,
    ) -> Self {
        Self { shim, tools, demands, how, been_up: how == How::TakeUp }
    }

    /// Brings the machine up, attends to it, and takes it down, as often as the workspace's
    /// policy has it; what comes of it is written down.
    pub(super) async fn lead(mut self, directory: WorkspaceDir, supervisor: Option<Selection>) {
        let mut directory = Some(directory);
        let mut backoff = Backoff::new();
        let led = loop {
            let began = Instant::now();
            let led = self.run(&mut directory, supervisor.clone()).await;
            let ended = match &led {
                Ok(ended) => *ended,
                Err(_) if self.been_up => Ended::Badly,
                Err(_) => Ended::NeverUp,
            };
            let policy = self.shim.workspace.manifest().map(|manifest| manifest.restart);
            let policy = policy.unwrap_or_default();
            let Some(wait) = backoff.after(policy, ended, began.elapsed()) else { break led };
            if self.pass(wait, led.err()).await {
                break Ok(Ended::Asked);
            }
        };
        if let Err(error) = self.settle(led) {
            unwritten(&error);
            self.shim.tell_unwritten(&error);
        }
    }

    /// Waits before the next start; whether somebody asked for there to be none.
    async fn pass(&mut self, wait: Duration, error: Option<RunError>) -> bool {
        let told = error.as_ref().map(Told::of);
        let again = |next: &mut Standing| {
            next.restarts += 1;
            next.error = told;
        };
        if let Err(error) = self.shim.step(again, Step::Restart) {
            unwritten(&error);
        }
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return false,
                Some(demand) = self.demands.recv() => match demand {
                    Demand::Halt { .. } | Demand::Kill => return true,
                    Demand::Change(step, reply) => _ = reply.send(Err(self.refused(step))),
                    Demand::Look(reply) => drop(reply),
                },
            }
        }
    }

    /// Writes down how it came to rest.
    fn settle(&self, led: Result<Ended, RunError>) -> Result<(), RunError> {
        let now = self.shim.standing.borrow().state;
        match led {
            Ok(_) if now == State::Starting => {
                self.shim.step(|_| {}, Step::Halt)?;
                self.shim.step(|next| next.error = None, Step::End)
            }
            Ok(_) => self.shim.step(|next| next.error = None, Step::End),
            Err(error @ RunError::NotWrittenBack { .. }) => {
                let told = Told::of(&error);
                self.shim.step(|next| next.error = Some(told), Step::End)
            }
            Err(error) => {
                let told = Told::of(&error);
                self.shim.step(|next| next.error = Some(told), Step::Fail)
            }
        }
    }

    async fn run(
        &mut self,
        directory: &mut Option<WorkspaceDir>,
        supervisor: Option<Selection>,
    ) -> Result<Ended, RunError> {
        let manifest = self.shim.workspace.manifest()?;
        let mut request = manifest.request()?;
        if self.shim.standing.borrow().set_up {
            request.setup.clear();
        }
        if let Some(supervisor) = supervisor {
            request.supervisor = supervisor;
        }
        let log = OutputLog::open(self.shim.workspace.path().to_owned())
            .map_err(|e| RunError::state("cannot write output.log".into(), e))?;
        let (stop, signals) = mpsc::channel(4);
        let mut io = RunIo {
            stdin: None,
            terminal: None,
            stdout: log.sink(),
            stderr: log.sink(),
            interrupts: Interrupts::new(signals, None),
            progress: Arc::new(Silent),
            leave: None,
        };
        let mut flow = Flow::detached(&request, self.tools, directory.take());
        let up = self.come_up(&mut flow, &manifest, &mut io, &stop).await;
        let led = match up {
            Err(RunError::Interrupted(_)) => Ok(Ended::Asked),
            Err(error) => Err(error),
            Ok(left) => self.be_up(&mut flow, &manifest, left, &log).await,
        };
        self.shim.relay.send_replace(None);
        self.shim.console.forget();
        let down = flow.take_down(&io).await;
        // Ours until the shim goes.
        *directory = flow.directory.take();
        led.and_then(|ended| down.map(|()| ended))
    }

    /// Until commands can be run. What is demanded meanwhile interrupts it.
    async fn come_up(
        &mut self,
        flow: &mut Flow<'_>,
        manifest: &Manifest,
        io: &mut RunIo,
        stop: &mpsc::Sender<i32>,
    ) -> Result<Option<Left>, RunError> {
        // Only once: whatever follows is a machine of its own.
        let how = std::mem::replace(&mut self.how, How::Start);
        let (shim, tools) = (self.shim, self.tools);
        let up = async {
            match how {
                How::Start => start(shim, flow, manifest, io).await.map(|()| None),
                How::TakeUp => take_up(shim, tools, flow, io).await.map(Some),
            }
        };
        tokio::pin!(up);
        loop {
            let demand = tokio::select! {
                up = &mut up => return up,
                Some(demand) = self.demands.recv() => demand,
            };
            match demand {
                // A full channel holds enough of them.
                Demand::Halt { .. } => _ = stop.try_send(SIGTERM),
                // The second one does not wait for a setup command.
                Demand::Kill => (0..2).for_each(|_| _ = stop.try_send(SIGTERM)),
                Demand::Change(step, reply) => _ = reply.send(Err(self.refused(step))),
                Demand::Look(reply) => drop(reply),
            }
        }
    }

    async fn be_up(
        &mut self,
        flow: &mut Flow<'_>,
        manifest: &Manifest,
        left: Option<Left>,
        log: &OutputLog,
    ) -> Result<Ended, RunError> {
        let (Some(session), Some(machine)) = (flow.session.clone(), flow.machine.as_deref()) else {
            return Ok(Ended::Asked);
        };
        let first = flow.request.setup.len() as u32 + 1;
        let relay = Relay::new(session.clone(), left.as_ref().map_or(first, |left| left.first));
        let streams = || {
            let (stdout, stderr) = (log.sink(), log.sink());
            ExecIo { stdin: None, stdout, stderr }
        };
        let left = left.and_then(|left| left.command);
        let command = match (&manifest.command, left) {
            (_, Some(Resumed { id: Some(id), terminal: true })) => {
                Some(self.shim.console.hold(log, |io| session.resume(id, io)))
            }
            (_, Some(Resumed { id: Some(id), terminal: false })) => {
                Some(Arc::new(session.resume(id, streams())))
            }
            (_, Some(Resumed { id: None, .. })) => {
                let reason = "its command ended when there was no shim to see it".into();
                return Err(RunError::Lost { reason, console: Vec::new() });
            }
            (None, None) => None,
            (Some(argv), None) => {
                let around = flow.request.surroundings();
                let hostname = flow.request.guest_hostname();
                let (id, argv) = (relay.next_id(), argv.clone());
                note_command(self.shim, id)?;
                let defaults = &manifest.defaults;
                let request = exec_request(id, argv, defaults, &around, &hostname, false);
                Some(Arc::new(session.exec(request, streams())))
            }
        };
        self.shim.relay.send_replace(Some(relay));
        self.shim.step(|next| next.set_up = true, Step::Ready)?;
        self.been_up = true;
        let began = now();
        let memory = flow.request.resources.memory_mib;
        let end = self.attend(machine, &session, command.as_deref(), memory).await?;
        if let End::Command(status) = &end {
            self.keep_result(began, status)?;
        }
        self.finish(end, machine, &session).await
    }

    /// Does what is demanded until the machine is to end or has.
    async fn attend(
        &mut self,
        machine: &dyn Machine,
        session: &Session,
        command: Option<&Exec>,
        memory: MiB,
    ) -> Result<End, RunError> {
        let gone = gone(machine, session);
        tokio::pin!(gone);
        let mut command: Pin<Box<dyn Future<Output = _> + Send>> = match command {
            Some(exec) => Box::pin(exec.wait()),
            None => Box::pin(std::future::pending()),
        };
        loop {
            tokio::select! {
                biased;
                status = &mut command => match status {
                    Ok(status) => return Ok(End::Command(status)),
                    // The session is lost, and soon the machine.
                    Err(_) => command = Box::pin(std::future::pending()),
                },
                exit = &mut gone => return Ok(End::Gone(exit)),
                Some(demand) = self.demands.recv() => match demand {
                    Demand::Halt { force_after } => return Ok(End::Halted { force_after }),
                    Demand::Kill => return Ok(End::Killed),
                    Demand::Change(step, reply) => {
                        let changed = self.change(machine, step).await;
                        // Whoever asked may be gone.
                        _ = reply.send(changed);
                    }
                    Demand::Look(reply) => _ = reply.send(look(machine, memory).await),
                },
            }
        }
    }

    async fn change(&self, machine: &dyn Machine, step: Step) -> Result<(), Told> {
        let state = self.shim.standing.borrow().state;
        match (state, step) {
            (State::Paused, Step::Pause) | (State::Running, Step::Resume) => return Ok(()),
            _ if state.after(step).is_err() => return Err(self.refused(step)),
            _ => {}
        }
        let Some(pause) = machine.as_pause() else {
            let message = format!("its supervisor cannot have it {step}");
            return Err(Told { kind: "unsupported".into(), message, hint: None });
        };
        let changed = match step {
            Step::Pause => pause.pause().await,
            _ => pause.resume().await,
        };
        changed.map_err(|e| Told::of(&e.into()))?;
        self.shim.step(|_| {}, step).map_err(|e| Told::of(&e))
    }

    async fn finish(
        &mut self,
        end: End,
        machine: &dyn Machine,
        session: &Session,
    ) -> Result<Ended, RunError> {
        match end {
            // Its own programs may end it without a word of the agent's.
            End::Gone(Exit::PowerOff | Exit::Reset) => {
                let told = session.written_back().await.unwrap_or_default();
                heard(Some(told)).map(|()| Ended::Well)
            }
            End::Gone(exit) => Err(RunError::Lost {
                reason: end_text(&exit),
                console: last_lines(machine.console()),
            }),
            End::Killed => self.shim.step(|_| {}, Step::Halt).map(|()| Ended::Asked),
            End::Halted { force_after } => {
                self.halt(machine, session, force_after).await.map(|()| Ended::Asked)
            }
            End::Command(status) => {
                let well = status == ExitStatus::Code { code: 0 };
                self.halt(machine, session, None).await?;
                Ok(if well { Ended::Well } else { Ended::Badly })
            }
        }
    }

    async fn halt(
        &mut self,
        machine: &dyn Machine,
        session: &Session,
        force_after: Option<Duration>,
    ) -> Result<(), RunError> {
        if self.shim.standing.borrow().state == State::Paused
            && let Some(pause) = machine.as_pause()
        {
            pause.resume().await?;
        }
        self.shim.step(|_| {}, Step::Halt)?;
        session.shutdown();
        let waited = machine.wait(force_after.unwrap_or(DEADLINE));
        tokio::pin!(waited);
        loop {
            tokio::select! {
                biased;
                waited = &mut waited => {
                    return judge(waited, session, machine.console()).await;
                }
                Some(demand) = self.demands.recv() => match demand {
                    Demand::Kill => return Err(not_written_back("it was killed".into())),
                    Demand::Halt { force_after: Some(_) } => {
                        return Err(not_written_back("it was halted by force".into()));
                    }
                    Demand::Halt { force_after: None } => {}
                    Demand::Change(step, reply) => _ = reply.send(Err(self.refused(step))),
                    Demand::Look(reply) => drop(reply),
                },
            }
        }
    }

    fn keep_result(&self, started_at: String, status: &ExitStatus) -> Result<(), RunError> {
        let signal = match status {
            ExitStatus::Signal { signal } => Some(*signal),
            _ => None,
        };
        let exit_code = Ending::Command(status.clone()).exit_code();
        let result = CommandResult { started_at, exited_at: now(), exit_code, signal };
        let path = self.shim.workspace.file(RESULT);
        let failed = |e| RunError::state(format!("cannot write {}", path.display()), e);
        let text = serde_json::to_vec_pretty(&result).map_err(|e| failed(e.into()))?;
        durable::replace(&path, &text).map_err(failed)
    }

    fn refused(&self, step: Step) -> Told {
        let (name, state) = (self.shim.workspace.name(), self.shim.standing.borrow().state);
        let message = format!("workspace {name} is {state} and cannot {step}");
        Told { kind: "invalid_state".into(), message, hint: None }
    }
}

/// Waits for the machine's end; one whose session is lost has not long to come to it.
async fn gone(machine: &dyn Machine, session: &Session) -> Exit {
    tokio::select! {
        exit = ended(machine) => exit,
        error = session.closed() => match machine.wait(LOST).await {
            Ok(Some(exit)) => exit,
            _ => Exit::Crashed { detail: error.to_string() },
        },
    }
}
