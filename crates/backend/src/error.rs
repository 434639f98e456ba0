//! What can go wrong with a machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Short for a result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a backend: what kind, what happened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure, for programs.
    pub kind: ErrorKind,
    /// What happened, naming the thing and the value; lower case, never the source's text.
    pub message: String,
    /// What the user can do, if there is something.
    pub hint: Option<String>,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense.
    Usage,
    /// The backend cannot run here.
    Unavailable,
    /// The backend does not do what was asked.
    Unsupported,
    /// There is no such thing.
    NotFound,
    /// Not in this state.
    InvalidState,
    /// Somebody else holds it.
    Conflict,
    /// Memory, disk space, descriptors or slots ran out.
    Exhausted,
    /// It did not happen in time.
    Timeout,
    /// A peer said what it must not say.
    Protocol,
    /// A process that was needed died.
    Crashed,
    /// The operating system refused.
    Io,
}

impl ErrorKind {
    /// The name as it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Usage => "usage",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::NotFound => "not_found",
            ErrorKind::InvalidState => "invalid_state",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Exhausted => "exhausted",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Crashed => "crashed",
            ErrorKind::Io => "io",
        }
    }
}

impl Error {
    /// An error without hint or source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with what caused it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error of the operating system while doing `what` (such as `"open /dev/kvm"`).
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::OutOfMemory
            | std::io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {}", what.into())).with_source(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_does_not_repeat_its_source() {
        let error = Error::io("open /nowhere", std::io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "cannot open /nowhere");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_full_disk_is_exhausted() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write", full).kind, ErrorKind::Exhausted);
    }
}
