//! `events.jsonl` of a workspace: what happened to its machine, one JSON object a line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::directory::WorkspaceDir;
use crate::named::State;

/// Name of the file.
pub(crate) const FILE: &str = "events.jsonl";

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(crate) enum Event {
    /// The workspace is in another state.
    State {
        /// Which.
        state: State,
        /// Why, where it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A required channel was severed.
    MediationBroken {
        /// The port of the guest's vsock.
        port: u32,
        /// Where it led.
        target: String,
        /// Why.
        reason: String,
    },
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC.
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// Where the events of one workspace go.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    path: PathBuf,
}

impl Events {
    pub(crate) fn of(directory: &WorkspaceDir) -> Self {
        Self::at(directory.path())
    }

    /// Those of the workspace in this directory.
    pub(crate) fn at(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// Adds an event. One that cannot be written is logged: the machine goes on.
    pub(crate) fn add(&self, event: &Event) {
        if let Err(error) = self.write(event) {
            tracing::warn!(path = %self.path.display(), %error, "cannot write an event");
        }
    }

    fn write(&self, event: &Event) -> io::Result<()> {
        let time = Timestamp::now().to_string();
        let mut line = serde_json::to_vec(&Line { time, event })?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        // In one piece, whoever else writes.
        options.append(true).create(true).mode(0o600).open(&self.path)?.write_all(&line)
    }
}
