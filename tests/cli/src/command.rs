//! Running the tools that make images and references.

use std::process::{Command, Stdio};

/// Runs a tool and gives what it printed.
///
/// # Panics
/// Where it fails, with what it said.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output.stdout
}
