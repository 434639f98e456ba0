//! How a failure is told: one line that names the thing, then what to do.

use std::error::Error;
use std::process::ExitCode;

use microagent_workspace::{EXIT_FAILED, RunError};
use serde::{Deserialize, Serialize};

use crate::output::say;

/// Exit code for a command line that makes no sense.
pub(crate) const EXIT_USAGE: u8 = 2;

/// A failure as it is told to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// What kind, for programs.
    pub(crate) kind: String,
    /// What happened, with all its causes.
    pub(crate) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A request that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: "usage".into(), message: message.into(), hint: None }
    }

    /// An error with nothing more to say about it.
    pub(crate) fn other(error: &dyn Error, doing: &str) -> Self {
        Self { kind: "io".into(), message: format!("{doing}: {}", chain(error)), hint: None }
    }

    /// The same with what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 2 for usage, 125 for all else.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.kind == "usage" { EXIT_USAGE } else { EXIT_FAILED }
    }

    /// Prints it, as JSON on standard output or as text on standard error.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        if json {
            crate::output::print_json(&serde_json::json!({ "error": self }));
        } else {
            self.print_text();
        }
        ExitCode::from(self.exit_code())
    }

    /// Prints it on standard error.
    pub(crate) fn print_text(&self) {
        say(&format!("\x1b[1;31merror:\x1b[0m {}", self.message));
        if let Some(hint) = &self.hint {
            say(&format!("\x1b[1mhint:\x1b[0m {hint}"));
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { kind: error.kind().into(), hint: error.hint(), message: chain(&error) }
    }
}

/// An error and its causes, joined once, here at the edge.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What the argument parser has to say: help and version are no failures.
pub(crate) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if let Some(failure) = crate::foreign::explain(error) {
        return failure.print(json);
    }
    if error.exit_code() == 0 || !json {
        // To a closed pipe there is nothing to say.
        let _ = error.print();
        return ExitCode::from(if error.exit_code() == 0 { 0 } else { EXIT_USAGE });
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Failure::usage(first).with_hint("`microagent --help` lists commands and flags").print(true)
}
