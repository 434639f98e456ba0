//! `state.json`: where a workspace is in its life, as its shim wrote it down last.

use std::path::Path;

use jiff::Timestamp;
use microagent_supervisor::Selection;
use serde::{Deserialize, Serialize};

use super::durable::{self, Versioned};
use super::lifecycle::{Refused, State, Step};
use crate::RunError;

/// Name of the file.
const FILE: &str = "state.json";

/// Where a workspace is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    version: u32,
    /// Where it is.
    pub state: State,
    /// Since when; RFC 3339, UTC.
    pub since: String,
    /// The backend that runs its machine, or ran the last one.
    pub backend: Option<String>,
    /// What a supervisor is called by which that machine is found again.
    pub supervisor: Option<String>,
    /// Whether its setup commands have all run.
    pub set_up: bool,
    /// How often its machine was started again since the workspace was.
    pub restarts: u32,
    /// Why it failed, or its last machine did.
    pub error: Option<Told>,
}

/// A failure in words that outlive the process that met it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// As [`RunError::kind`].
    pub kind: String,
    /// What happened, with all its causes.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Versioned for Standing {
    const VERSION: u32 = 1;
    const WHAT: &'static str = "state of the workspace";
}

impl Standing {
    /// That of a workspace that was just made.
    pub(crate) fn created() -> Self {
        Self {
            version: Self::VERSION,
            state: State::Created,
            since: now(),
            backend: None,
            supervisor: None,
            set_up: false,
            restarts: 0,
            error: None,
        }
    }

    /// That of a run that is kept, and of how its end went wrong, if it did.
    pub(crate) fn kept(error: Option<Told>) -> Self {
        Self { state: State::Stopped, set_up: true, error, ..Self::created() }
    }

    /// That of a copy of a workspace: what was set up in that one is set up in this.
    pub(crate) fn cloned(of: &Self) -> Self {
        Self { set_up: of.set_up, ..Self::created() }
    }

    /// With a machine of this backend, found again by what was asked for.
    pub(crate) fn runs_on(self, supervisor: &Selection, backend: &str) -> Self {
        let found_by = match supervisor {
            Selection::Auto => backend.to_owned(),
            named => named.to_string(),
        };
        Self { backend: Some(backend.to_owned()), supervisor: Some(found_by), ..self }
    }

    /// After a step, now.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn after(&self, step: Step) -> Result<Self, Refused> {
        let state = self.state.after(step)?;
        let error = if step == Step::Start { None } else { self.error.clone() };
        let restarts = if step == Step::Start { 0 } else { self.restarts };
        Ok(Self { state, since: now(), error, restarts, ..self.clone() })
    }

    /// After it failed for this reason.
    pub(crate) fn failed(&self, error: Told) -> Result<Self, Refused> {
        Ok(Self { error: Some(error), ..self.after(Step::Fail)? })
    }

    /// Reads that of the workspace in `dir`; a workspace without one was made and never
    /// started.
    pub(crate) fn read(dir: &Path) -> Result<Self, RunError> {
        Ok(durable::read(&dir.join(FILE))?.unwrap_or_else(Self::created))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), RunError> {
        durable::write(&dir.join(FILE), self)
    }
}

impl Told {
    pub(crate) fn of(error: &RunError) -> Self {
        let message = crate::error::chain(error);
        Self { kind: error.kind().to_owned(), message, hint: error.hint() }
    }
}

fn now() -> String {
    Timestamp::now().to_string()
}
