//! What cannot be understood.

use crate::VERSION;

/// Why a request or an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON, or not the JSON that it must be.
    #[error("not what the protocol says")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("protocol version {got}, expected {VERSION}")]
    Version {
        /// What it says, as JSON.
        got: String,
    },
    /// It is neither a result nor an error, or both.
    #[error("an answer has either 'ok' or 'err'")]
    Neither,
}
