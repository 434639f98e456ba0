//! Why a case did not pass.

use microagent_backend::{Error, ErrorKind};

/// Why a case did not pass.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The case cannot be judged here: something that it needs is not to be had. The only
    /// reason to skip.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A law is broken.
    #[error("{0}")]
    Broken(String),
}

/// Short for what a case ends with.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }
}

/// An error that no case expected.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = chain(&error);
        match error.kind {
            ErrorKind::Unavailable => Self::Unavailable(text),
            kind => Self::Broken(format!("unexpected {}: {text}", kind.name())),
        }
    }
}

/// What the case itself met while it prepared or looked.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(format!("the case itself failed: {error}"))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Fails with `what` unless `law` holds.
pub(crate) fn require(law: bool, what: impl FnOnce() -> String) -> Result {
    if law { Ok(()) } else { Err(Failure::Broken(what())) }
}

/// Fails unless both are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expect: T) -> Result {
    require(got == expect, || format!("{what}: got {got:?}, expected {expect:?}"))
}

/// Takes the error that `what` must meet, and fails unless it is of one of the kinds.
pub(crate) fn refused<T>(
    what: &str,
    result: microagent_backend::Result<T>,
    kinds: &[ErrorKind],
) -> Result<Error> {
    match result {
        Ok(_) => Err(Failure::Broken(format!("{what}: accepted, expected {kinds:?}"))),
        Err(error) if kinds.contains(&error.kind) => Ok(error),
        Err(error) => {
            let text = chain(&error);
            let kind = error.kind;
            Err(Failure::Broken(format!("{what}: got {kind:?} ({text}), expected {kinds:?}")))
        }
    }
}
