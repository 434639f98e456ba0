//! What can end a run from outside: signals and the time limit.

use std::fmt;
use std::future::Future;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::RunError;

/// What ended a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// A signal to this program.
    Signal(i32),
    /// The time limit.
    Timeout,
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Timeout => f.write_str("the time limit"),
        }
    }
}

/// The interrupts of one run.
#[derive(Debug)]
pub struct Interrupts {
    signals: mpsc::Receiver<i32>,
    deadline: Option<Instant>,
}

impl Interrupts {
    /// Signals as they arrive on a channel, and a time limit.
    pub fn new(signals: mpsc::Receiver<i32>, deadline: Option<Instant>) -> Self {
        Self { signals, deadline }
    }

    /// The next interrupt. Cancelling it loses none.
    pub(crate) async fn next(&mut self) -> Interrupt {
        let deadline = self.deadline;
        let timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            signal = self.signal() => Interrupt::Signal(signal),
            () = timeout => Interrupt::Timeout,
        }
    }

    /// The next signal, whatever the time. Cancelling it loses none.
    pub(crate) async fn signal(&mut self) -> i32 {
        match self.signals.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Runs a step that may be dropped midway.
    ///
    /// # Errors
    /// [`RunError::Interrupted`], or the step's own.
    pub(crate) async fn guard<T, E: Into<RunError>>(
        &mut self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RunError> {
        tokio::select! {
            biased;
            interrupt = self.next() => Err(RunError::Interrupted(interrupt)),
            done = step => done.map_err(Into::into),
        }
    }
}
