//! Talking to QEMU.
//!
//! The `qapi` crate speaks the protocol. What it gets wrong is kept away from it: events go
//! through [`filter`], since one that its schema lacks would close the connection; replies
//! are read as `Any` where versions differ; a command whose reply is late takes its whole
//! connection with it, since the next one after a cancelled `execute` panics.

mod command;
mod events;
mod filter;
mod session;
mod status;

pub(crate) use command::{Cont, Stop};
pub(crate) use events::{Events, Shutdown};
pub(crate) use session::Session;
pub(crate) use status::Status;
