//! Errors about the processes of a machine.

use std::io;

use microagent_backend::{Error, ErrorKind};

/// An error about a process of a machine.
pub fn process_error(what: &str, role: &str, source: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} the {role} process")).with_source(source)
}
