//! What the agent says where the host keeps it even if no session came about.

use std::fmt::Display;
use std::io::Write;

/// One line on the console. The host looks for the prefix.
pub(crate) fn say(line: impl Display) {
    // Not `eprintln`, which panics where there is no console.
    let _ = writeln!(std::io::stderr(), "microagent-agent: {line}");
}
