//! One machine of QEMU.

use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Exit, Isolation, Machine, Pause, Result, RunDir, State, VsockSocket,
};
use microagent_guarded::{
    FOLLOW_WITHIN, GATEWAY, PASST, Processes, Remains, Reports, SocketDir, wrong_moment,
};
use qapi::qmp::QmpCommand;
use tokio::sync::watch;

use crate::backend::NAME;
use crate::build::VSOCK;
use crate::conversation::Line;
use crate::ending::verdict;
use crate::files;
use crate::qmp::{Cont, Events, Session, Shutdown, Status, Stop};

/// What only whoever made a machine has.
pub(crate) struct Owned {
    /// A connection that stays, and so hears what QEMU says last.
    pub(crate) session: Session,
    /// Held so that the guard's reports go somewhere; its record tells the same.
    pub(crate) _reports: Reports,
}

/// A machine that was built or taken up.
pub(crate) struct QemuMachine {
    processes: Processes,
    line: Line,
    events: Option<watch::Receiver<Events>>,
    _reports: Option<Reports>,
    vsock: VsockSocket,
    console: ConsoleLog,
}

impl QemuMachine {
    /// A machine of these processes.
    pub(crate) fn new(processes: Processes, owned: Option<Owned>) -> Result<Self> {
        let (session, reports) = owned.map(|o| (o.session, o._reports)).unzip();
        let dir = processes.dir();
        Ok(Self {
            vsock: VsockSocket::new(dir.file(files::VSOCK)),
            console: ConsoleLog::new(dir.file(files::CONSOLE)),
            events: session.as_ref().map(Session::events),
            line: Line::new(session, SocketDir::open(dir)?),
            _reports: reports,
            processes,
        })
    }

    /// Takes up the machine that is recorded in `dir`.
    pub(crate) fn open(dir: RunDir) -> Result<Self> {
        Self::new(Processes::open(dir, NAME, &[VSOCK, GATEWAY, PASST])?, None)
    }

    /// Executes `command` where the machine is in the state `from`.
    async fn change<C>(&self, what: &str, from: State, command: C) -> Result<()>
    where
        C: QmpCommand + Send + 'static,
    {
        if self.processes.monitor().has_ended() {
            return Err(wrong_moment(what, State::Stopped));
        }
        match self.line.change(from, command).await? {
            Status::Is(state) if state == from => Ok(()),
            Status::Is(state) => Err(wrong_moment(what, state)),
            Status::Failed(_) => Err(wrong_moment(what, State::Stopped)),
        }
    }

    /// Waits for QEMU's end, and brings it about where the machine is none any more.
    async fn monitor_ended(&self) -> Result<()> {
        let mut events = self.events.clone();
        loop {
            tokio::select! {
                biased;
                ended = self.processes.monitor_ended() => return ended,
                () = stopped(&mut events) => {
                    if let Ok(Status::Failed(reason)) = self.line.status().await {
                        self.processes.fail(&format!("qemu stopped the machine: {reason}"))?;
                    }
                }
            }
        }
    }

    /// How it ended, once QEMU has.
    async fn verdict(&self) -> Exit {
        if let Some(exit) = self.processes.settled() {
            return exit;
        }
        let shutdown = match &self.events {
            Some(events) => last_event(events.clone()).await,
            None => None,
        };
        let remains = Remains::gather(self.processes.dir(), self.processes.guard()).await;
        self.processes.settle(verdict(remains, shutdown))
    }
}

#[async_trait]
impl Machine for QemuMachine {
    async fn state(&self) -> Result<State> {
        let monitor = self.processes.monitor();
        if monitor.has_ended() {
            return Ok(State::Stopped);
        }
        match self.line.status().await {
            Ok(Status::Is(state)) => Ok(state),
            Ok(Status::Failed(_)) => Ok(State::Stopped),
            Err(error) => match monitor.ended_within(FOLLOW_WITHIN).await {
                Ok(true) => Ok(State::Stopped),
                _ => Err(error),
            },
        }
    }

    async fn start(&self) -> Result<()> {
        self.change("start", State::Created, Cont {}).await
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let end = async {
            self.monitor_ended().await?;
            Ok(self.verdict().await)
        };
        tokio::time::timeout(within, end).await.ok().transpose()
    }

    async fn kill(&self) -> Result<()> {
        self.processes.kill().await
    }

    async fn destroy(&self) -> Result<()> {
        if self.processes.monitor().has_ended() {
            self.verdict().await;
        }
        self.processes.destroy().await
    }

    fn vsock(&self) -> &VsockSocket {
        &self.vsock
    }

    fn console(&self) -> &ConsoleLog {
        &self.console
    }

    async fn isolation(&self) -> Result<Isolation> {
        self.processes.isolation(self.processes.record().landlock)
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }
}

#[async_trait]
impl Pause for QemuMachine {
    async fn pause(&self) -> Result<()> {
        self.change("pause", State::Running, Stop {}).await
    }

    async fn resume(&self) -> Result<()> {
        self.change("resume", State::Paused, Cont {}).await
    }
}

/// Waits until QEMU says that it stopped the vCPUs.
async fn stopped(events: &mut Option<watch::Receiver<Events>>) {
    let Some(events) = events else { return pending().await };
    let before = events.borrow_and_update().stops;
    if events.wait_for(|now| now.stops != before).await.is_err() {
        pending().await
    }
}

/// Why QEMU ended, as it said itself, once its connection is closed.
async fn last_event(mut events: watch::Receiver<Events>) -> Option<Shutdown> {
    let closed = async { while events.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(FOLLOW_WITHIN, closed).await;
    events.borrow().shutdown.clone()
}
