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
mod malformed;
mod schema;

pub use answer::{Answer, Done, MachineAnswer, Part, Refusal, StateAnswer, WaitAnswer, decode};
pub use call::{Call, CreateArgs, DirArgs, LifetimeArgs, NoArgs, Op, WaitArgs};
pub use file_name::{FileName, InvalidFileName};
pub use limits::{LIFE_FD, MAX_ANSWER, MAX_REQUEST, MAX_WAIT, VERSION};
pub use malformed::Malformed;
pub use schema::schemas;
