//! How long each step of a run took.

use std::time::Instant;

use serde::Serialize;

/// One step with its duration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// The step: `mediation`, `resolve`, `rootfs`, `kernel`, `choose`, `disk`, `create`, `boot`,
    /// `mount`, `setup`, `command`, `outputs`, `unwind`.
    pub name: &'static str,
    /// Its duration in milliseconds of wall clock.
    pub ms: f64,
}

/// A clock that cuts a run into steps, each beginning where the one before it ended.
#[derive(Debug)]
pub struct Phases {
    last: Instant,
    done: Vec<Phase>,
}

impl Default for Phases {
    fn default() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }
}

impl Phases {
    /// Ends the step `name`.
    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        let ms = now.duration_since(self.last).as_secs_f64() * 1e3;
        self.last = now;
        tracing::debug!(phase = name, ms, "phase ended");
        self.done.push(Phase { name, ms });
    }

    /// Leaves out the time since the last step ended.
    pub fn skip(&mut self) {
        self.last = Instant::now();
    }

    /// All steps that have ended, in order.
    pub fn into_vec(self) -> Vec<Phase> {
        self.done
    }
}
