//! One machine of a supervisor executable. All that a handle knows is its directory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use microagent_backend::{
    ConsoleLog, Error, ErrorKind, Exit, Isolation, Machine, MachineStats, Pause, PowerButton,
    Result, RunDir, State, Stats, VsockSocket,
};
use microagent_supervisor_protocol::{
    Call, DirArgs, Done, MAX_WAIT, MachineAnswer, Part, StateAnswer, WaitAnswer, WaitArgs,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::executable::{ANSWER_WITHIN, END_WITHIN};
use crate::program::Program;

/// For ever, nearly.
const A_YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A machine of a supervisor executable.
#[derive(Debug)]
pub(crate) struct ExecutableMachine {
    program: Program,
    dir: PathBuf,
    vsock: VsockSocket,
    console: ConsoleLog,
    parts: Vec<Part>,
    /// How it ended, once that was told: `destroy` removes what tells it.
    exit: Mutex<Option<Exit>>,
}

impl ExecutableMachine {
    pub(crate) fn new(program: Program, dir: PathBuf, answer: MachineAnswer) -> Self {
        let MachineAnswer { console, vsock, parts } = answer;
        let vsock = VsockSocket::new(dir.join(vsock.as_str()));
        let console = ConsoleLog::new(dir.join(console.as_str()));
        Self { program, dir, vsock, console, parts, exit: Mutex::new(None) }
    }

    fn args(&self) -> DirArgs {
        DirArgs { dir: self.dir.clone() }
    }

    /// Asks for an operation on this machine; `None` if it is gone.
    async fn ask<T: DeserializeOwned>(&self, call: Call, within: Duration) -> Result<Option<T>> {
        match self.program.ask(&call, None, within).await.map_err(Error::from) {
            Ok(answer) => Ok(Some(answer)),
            Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The same of a machine that must still be there.
    async fn must<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let op = call.op().name();
        let gone = || {
            let message = format!("cannot '{op}' a machine that is gone");
            Error::new(ErrorKind::InvalidState, message)
        };
        self.ask(call, ANSWER_WITHIN).await?.ok_or_else(gone)
    }

    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn ended(&self, exit: Option<Exit>) -> Option<Exit> {
        let mut known = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = exit;
        }
        known.clone()
    }
}

#[async_trait]
impl Machine for ExecutableMachine {
    async fn state(&self) -> Result<State> {
        let answer = self.ask(Call::State(self.args()), ANSWER_WITHIN).await?;
        Ok(answer.map_or(State::Stopped, |StateAnswer { state }| state))
    }

    async fn start(&self) -> Result<()> {
        self.must(Call::Start(self.args())).await.map(|Done {}| ())
    }

    async fn wait(&self, within: Duration) -> Result<Option<Exit>> {
        let deadline = Instant::now() + within.min(A_YEAR);
        loop {
            if let Some(exit) = self.ended(None) {
                return Ok(Some(exit));
            }
            let part = deadline.saturating_duration_since(Instant::now()).min(MAX_WAIT);
            // Rounded up, or the last of many would be over before the deadline.
            let within_ms = u64::try_from(part.as_nanos().div_ceil(1_000_000)).unwrap_or(0);
            let call = Call::Wait(WaitArgs { dir: self.dir.clone(), within_ms });
            match self.ask(call, part + ANSWER_WITHIN).await? {
                Some(WaitAnswer { exit: Some(exit) }) => return Ok(self.ended(Some(exit))),
                Some(WaitAnswer { exit: None }) if Instant::now() >= deadline => return Ok(None),
                Some(WaitAnswer { exit: None }) => {}
                // Removed with all else by `destroy` or at the end of its lifetime.
                None => return Ok(self.ended(Some(Exit::Killed))),
            }
        }
    }

    async fn kill(&self) -> Result<()> {
        self.ask::<Done>(Call::Kill(self.args()), END_WITHIN).await.map(drop)
    }

    async fn destroy(&self) -> Result<()> {
        // Should that fail, the directory still leads to what is left.
        self.ask::<Done>(Call::Destroy(self.args()), END_WITHIN).await?;
        RunDir::at(&self.dir).remove()
    }

    fn vsock(&self) -> &VsockSocket {
        &self.vsock
    }

    fn console(&self) -> &ConsoleLog {
        &self.console
    }

    async fn isolation(&self) -> Result<Isolation> {
        self.must(Call::Isolation(self.args())).await
    }

    fn as_pause(&self) -> Option<&dyn Pause> {
        self.has(Part::Pause).then_some(self as &dyn Pause)
    }

    fn as_stats(&self) -> Option<&dyn Stats> {
        self.has(Part::Stats).then_some(self as &dyn Stats)
    }

    fn as_power_button(&self) -> Option<&dyn PowerButton> {
        self.has(Part::PowerButton).then_some(self as &dyn PowerButton)
    }
}

#[async_trait]
impl Pause for ExecutableMachine {
    async fn pause(&self) -> Result<()> {
        self.must(Call::Pause(self.args())).await.map(|Done {}| ())
    }

    async fn resume(&self) -> Result<()> {
        self.must(Call::Resume(self.args())).await.map(|Done {}| ())
    }
}

#[async_trait]
impl Stats for ExecutableMachine {
    async fn read(&self) -> Result<MachineStats> {
        self.must(Call::Stats(self.args())).await
    }
}

#[async_trait]
impl PowerButton for ExecutableMachine {
    async fn press(&self) -> Result<()> {
        self.must(Call::PowerButton(self.args())).await.map(|Done {}| ())
    }
}
