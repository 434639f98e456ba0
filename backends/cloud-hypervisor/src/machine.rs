//! One machine of Cloud Hypervisor.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, ErrorKind, Exit, Isolation, Machine, MachineStats, Pause, PowerButton,
    Result, RunDir, State, Stats, VsockSocket,
};
use microagent_guarded::{
    FOLLOW_WITHIN, GATEWAY, PASST, Processes, Remains, Reports, SocketDir, wrong_moment,
};

use crate::api::Client;
use crate::backend::NAME;
use crate::ending::verdict;
use crate::files;
use crate::network::NET;
use crate::stats::machine_stats;

/// A machine that was built or taken up; the two differ in nothing.
pub(crate) struct CloudHypervisorMachine {
    processes: Processes,
    client: Client,
    /// Held so that the guard's reports go somewhere; its record tells the same.
    _reports: Option<Reports>,
    vsock: VsockSocket,
    console: ConsoleLog,
}

impl CloudHypervisorMachine {
    /// A machine of these processes.
    pub(crate) fn new(processes: Processes, reports: Option<Reports>) -> Result<Self> {
        let dir = processes.dir();
        Ok(Self {
            client: Client::new(SocketDir::open(dir)?),
            vsock: VsockSocket::new(dir.file(files::VSOCK)),
            console: ConsoleLog::new(dir.file(files::CONSOLE)),
            _reports: reports,
            processes,
        })
    }

    /// Takes up the machine that is recorded in `dir`.
    pub(crate) fn open(dir: RunDir) -> Result<Self> {
        Self::new(Processes::open(dir, NAME, &[NET, GATEWAY, PASST])?, None)
    }

    /// Fails unless the machine is in the state `from`.
    async fn must_be(&self, what: &str, from: State) -> Result<()> {
        match self.state().await? {
            state if state == from => Ok(()),
            state => Err(wrong_moment(what, state)),
        }
    }

    /// The outcome of asking for `what` a machine that was in the state `from`; if it is not
    /// any more, somebody else was faster.
    async fn unless_changed<T>(&self, what: &str, from: State, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.kind != ErrorKind::Timeout => match self.state().await {
                Ok(state) if state != from => Err(wrong_moment(what, state)),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }

    /// Whether an error came of the end of Cloud Hypervisor.
    async fn is_ending(&self, error: &Error) -> bool {
        matches!(error.kind, ErrorKind::Crashed | ErrorKind::Io)
            && matches!(self.processes.monitor().ended_within(FOLLOW_WITHIN).await, Ok(true))
    }

    /// Takes away what a second boot would need.
    fn remove_kernel(&self) -> Result<()> {
        let link = self.processes.dir().file(files::KERNEL);
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove the link {}", link.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// How it ended, once Cloud Hypervisor has.
    async fn verdict(&self) -> Exit {
        if let Some(exit) = self.processes.settled() {
            return exit;
        }
        let remains = Remains::gather(self.processes.dir(), self.processes.guard()).await;
        self.processes.settle(verdict(remains))
    }

    /// Whether it has ended as only a guest can end it.
    async fn was_ended_by_its_guest(&self) -> bool {
        self.processes.monitor().has_ended()
            && matches!(self.verdict().await, Exit::PowerOff | Exit::Reset | Exit::Panic)
    }
}

#[async_trait]
impl Machine for CloudHypervisorMachine {
    async fn state(&self) -> Result<State> {
        if self.processes.monitor().has_ended() {
            return Ok(State::Stopped);
        }
        match self.client.info().await {
            Ok(info) => Ok(info.state()),
            Err(error) if self.is_ending(&error).await => Ok(State::Stopped),
            Err(error) => Err(error),
        }
    }

    async fn start(&self) -> Result<()> {
        self.must_be("start", State::Created).await?;
        let booted = match self.client.boot().await {
            // A guest that ends at once may take the reply with it.
            Err(error) if self.is_ending(&error).await && self.was_ended_by_its_guest().await => {
                Ok(())
            }
            booted => self.unless_changed("start", State::Created, booted).await,
        };
        // In this order: a link that stays only where nothing has booted.
        booted.and(self.remove_kernel())
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
        self.processes.isolation(self.processes.record().landlock)
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        Some(self)
    }

    fn as_stats(&self) -> Option<&dyn Stats> {
        Some(self)
    }

    fn as_power_button(&self) -> Option<&dyn PowerButton> {
        Some(self)
    }
}

#[async_trait]
impl Pause for CloudHypervisorMachine {
    async fn pause(&self) -> Result<()> {
        self.must_be("pause", State::Running).await?;
        let paused = self.client.pause().await;
        self.unless_changed("pause", State::Running, paused).await
    }

    async fn resume(&self) -> Result<()> {
        self.must_be("resume", State::Paused).await?;
        let resumed = self.client.resume().await;
        self.unless_changed("resume", State::Paused, resumed).await
    }
}

#[async_trait]
impl Stats for CloudHypervisorMachine {
    async fn read(&self) -> Result<MachineStats> {
        let what = "read the counters of";
        match self.state().await? {
            State::Stopped => Err(wrong_moment(what, State::Stopped)),
            // It has no devices to count for before it has booted.
            State::Created => Ok(MachineStats::default()),
            state => {
                let counters = self.client.counters().await;
                machine_stats(&self.unless_changed(what, state, counters).await?)
            }
        }
    }
}

#[async_trait]
impl PowerButton for CloudHypervisorMachine {
    async fn press(&self) -> Result<()> {
        let what = "press the power button of";
        self.must_be(what, State::Running).await?;
        let pressed = self.client.press_power_button().await;
        self.unless_changed(what, State::Running, pressed).await
    }
}
