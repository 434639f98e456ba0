//! One machine of the native monitor.

use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, Exit, Isolation, Machine, MachineStats, Pause, Result, RunDir, State, Stats,
    VsockSocket,
};
use microagent_guarded::{
    FOLLOW_WITHIN, GATEWAY, PASST, Processes, Remains, Reports, SocketDir, wrong_moment,
};

use crate::backend::NAME;
use crate::client::Client;
use crate::ending::verdict;
use crate::files;
use crate::limits::REPLY_WITHIN;
use crate::stats::machine_stats;

/// A machine that was built or taken up; the two differ in nothing.
pub(crate) struct KvmMachine {
    processes: Processes,
    client: Client,
    /// Held so that the guard's reports go somewhere; its record tells the same.
    _reports: Option<Reports>,
    vsock: VsockSocket,
    console: ConsoleLog,
}

impl KvmMachine {
    /// A machine of these processes.
    pub(crate) fn new(processes: Processes, reports: Option<Reports>) -> Result<Self> {
        let dir = processes.dir();
        Ok(Self {
            client: Client::new(SocketDir::open(dir)?, REPLY_WITHIN),
            vsock: VsockSocket::new(dir.file(files::VSOCK)),
            console: ConsoleLog::new(dir.file(files::CONSOLE)),
            _reports: reports,
            processes,
        })
    }

    /// Takes up the machine that is recorded in `dir`.
    pub(crate) fn open(dir: RunDir) -> Result<Self> {
        Self::new(Processes::open(dir, NAME, &[GATEWAY, PASST])?, None)
    }

    /// The outcome of asking the monitor to do `what`; one that has ended meanwhile does
    /// nothing any more.
    async fn unless_ended<T>(&self, what: &str, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if self.is_ending(&error).await => Err(wrong_moment(what, State::Stopped)),
            outcome => outcome,
        }
    }

    /// Whether an error came of the monitor's end.
    async fn is_ending(&self, error: &Error) -> bool {
        use microagent_backend::ErrorKind::{Crashed, Io};
        matches!(error.kind, Crashed | Io)
            && matches!(self.processes.monitor().ended_within(FOLLOW_WITHIN).await, Ok(true))
    }

    fn is_over(&self, what: &str) -> Result<()> {
        match self.processes.monitor().has_ended() {
            true => Err(wrong_moment(what, State::Stopped)),
            false => Ok(()),
        }
    }

    /// How it ended, once the monitor has.
    async fn verdict(&self) -> Exit {
        if let Some(exit) = self.processes.settled() {
            return exit;
        }
        let remains = Remains::gather(self.processes.dir(), self.processes.guard()).await;
        self.processes.settle(verdict(remains))
    }
}

#[async_trait]
impl Machine for KvmMachine {
    async fn state(&self) -> Result<State> {
        if self.processes.monitor().has_ended() {
            return Ok(State::Stopped);
        }
        match self.client.state().await {
            Ok(standing) => Ok(standing.state),
            Err(error) if self.is_ending(&error).await => Ok(State::Stopped),
            Err(error) => Err(error),
        }
    }

    async fn start(&self) -> Result<()> {
        self.is_over("start")?;
        self.unless_ended("start", self.client.start().await).await
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let end = async {
            self.processes.monitor_ended().await?;
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
        self.is_over("look at the processes of")?;
        // Seen to deny by the guard's rules, by the monitor's own, or both.
        let own = self.client.state().await.is_ok_and(|standing| standing.landlock);
        self.processes.isolation(own || self.processes.record().landlock)
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }

    fn as_stats(&self) -> Option<&dyn Stats> {
        Some(self)
    }
}

#[async_trait]
impl Pause for KvmMachine {
    async fn pause(&self) -> Result<()> {
        self.is_over("pause")?;
        self.unless_ended("pause", self.client.pause().await).await
    }

    async fn resume(&self) -> Result<()> {
        self.is_over("resume")?;
        self.unless_ended("resume", self.client.resume().await).await
    }
}

#[async_trait]
impl Stats for KvmMachine {
    async fn read(&self) -> Result<MachineStats> {
        self.is_over("read the counters of")?;
        let stats = self.client.stats().await;
        machine_stats(self.unless_ended("read the counters of", stats).await?)
    }
}
