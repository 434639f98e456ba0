//! What is said between microagent and a supervisor that is a program of its own.
//!
//! One [`Call`] as JSON on the supervisor's standard input, one answer as JSON on its
//! standard output, and then it ends: a machine lives without it. The types here are the
//! protocol, and the schemas in `docs/schema` are made of them. `docs/supervisor-protocol.md`
//! says in words what they cannot.
//!
//! Deliberately not here: any I/O, and what the operations owe, which is the contract of
//! `microagent-backend`.

mod answer;
mod call;
mod file_name;
mod limits;
mod schema;

pub use answer::{Answer, Done, MachineAnswer, Part, Refusal, StateAnswer, WaitAnswer, decode};
pub use call::{Call, CreateArgs, DirArgs, LifetimeArgs, NoArgs, Op, WaitArgs};
pub use file_name::{FileName, InvalidFileName};
pub use limits::{LIFE_FD, MAX_ANSWER, MAX_REQUEST, MAX_WAIT, VERSION};
pub use schema::schemas;

/// What cannot be understood, as text that names the fault.
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
