//! A machine of a backend with a fault.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, ErrorKind, Exit, Isolation, Machine, Pause, Result, RunDir, State,
    VsockSocket,
};

use crate::fault::Fault;

/// How much too late a late wait returns.
const LATE: Duration = Duration::from_secs(4);

pub(crate) struct MutantMachine {
    inner: Option<Box<dyn Machine>>,
    fault: Fault,
    dir: RunDir,
    said: Mutex<Option<State>>,
}

impl MutantMachine {
    pub(crate) fn new(inner: Box<dyn Machine>, fault: Fault, dir: RunDir) -> Self {
        Self { inner: Some(inner), fault, dir, said: Mutex::new(None) }
    }

    fn inner(&self) -> &dyn Machine {
        self.inner.as_deref().expect("is there until the drop")
    }

    fn say(&self, state: Option<State>) {
        *self.said.lock().expect("nobody panics with it") = state;
    }
}

impl Drop for MutantMachine {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take().filter(|_| self.fault == Fault::HandleKillsWhenDropped)
        else {
            return;
        };
        let kill = move || {
            let runtime = microagent_tests_conformance::runtime().expect("a runtime");
            runtime.block_on(inner.kill())
        };
        let _ = std::thread::spawn(kill).join();
    }
}

#[async_trait]
impl Machine for MutantMachine {
    async fn state(&self) -> Result<State> {
        let said = *self.said.lock().expect("nobody panics with it");
        match said {
            Some(state) => Ok(state),
            None => self.inner().state().await,
        }
    }

    async fn start(&self) -> Result<()> {
        match self.inner().start().await {
            Err(_) if self.fault == Fault::StartIsAlwaysOk => Ok(()),
            other => other,
        }
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let late = if self.fault == Fault::WaitIsLate { LATE } else { Duration::ZERO };
        Ok(match (self.fault, self.inner().wait(within + late).await?) {
            (Fault::CrashLooksLikeKill, Some(Exit::Crashed { .. })) => Some(Exit::Killed),
            (Fault::PanicLooksLikeReset, Some(Exit::Panic)) => Some(Exit::Reset),
            (_, exit) => exit,
        })
    }

    async fn kill(&self) -> Result<()> {
        match self.fault {
            Fault::KillDoesNothing => Ok(()),
            _ => self.inner().kill().await,
        }
    }

    async fn destroy(&self) -> Result<()> {
        match self.fault {
            Fault::DestroyLeavesFiles => self.inner().kill().await,
            Fault::DestroyLeavesProcesses => self.dir.remove(),
            _ => self.inner().destroy().await,
        }
    }

    fn vsock(&self) -> &VsockSocket {
        self.inner().vsock()
    }

    fn console(&self) -> &ConsoleLog {
        self.inner().console()
    }

    async fn isolation(&self) -> Result<Isolation> {
        self.inner().isolation().await
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        (self.fault != Fault::DeclaresAPartItLacks).then_some(self)
    }
}

#[async_trait]
impl Pause for MutantMachine {
    async fn pause(&self) -> Result<()> {
        match self.fault {
            Fault::PauseDoesNothing => Ok(()),
            Fault::PauseOnlySaysSo => {
                self.say(Some(State::Paused));
                Ok(())
            }
            _ => self.part()?.pause().await,
        }
    }

    async fn resume(&self) -> Result<()> {
        match self.fault {
            Fault::PauseOnlySaysSo => {
                self.say(None);
                Ok(())
            }
            Fault::ResumeDoesNothing => Ok(()),
            _ => self.part()?.resume().await,
        }
    }
}

impl MutantMachine {
    fn part(&self) -> Result<&dyn Pause> {
        let none = || Error::new(ErrorKind::Unsupported, "cannot pause");
        self.inner().as_pause().ok_or_else(none)
    }
}
