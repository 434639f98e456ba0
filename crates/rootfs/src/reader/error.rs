//! What reading a file system can fail with.

use std::io;

/// Why an image, or something in it, could not be read. Whoever knows the image's path says it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("it is no ext4 file system: {0}")]
    NotExt4(String),
    /// It contradicts itself, or the file is shorter than it says.
    #[error("it is damaged: {0}")]
    Corrupt(String),
    /// It is sound, and this reader cannot read it.
    #[error("{0} are not known here")]
    Unsupported(String),
    /// There is no such file in it.
    #[error("there is no {0}")]
    NotFound(String),
    /// The file is of another kind than is needed.
    #[error("{path} is {found}")]
    Kind {
        /// Its path in the image.
        path: String,
        /// What it is, with an article.
        found: &'static str,
    },
    /// It holds more of something than is read.
    #[error("more than {limit} {what}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// It is of a kind that is never made on the host.
    #[error("{0}")]
    LeftOut(String),
    /// The host failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The failure.
        source: io::Error,
    },
}

impl ReadError {
    /// For `map_err`: an I/O failure with what was being done.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}

/// Fails when `value` has passed `limit`.
pub(crate) fn within(value: u64, limit: u64, what: &'static str) -> Result<(), ReadError> {
    if value > limit { Err(ReadError::Limit { what, limit }) } else { Ok(()) }
}
