//! What the agent says where the host keeps it even if no session came about.

use std::fmt::Display;
use std::io::Write;

use microagent_guest_protocol::ending::AGENT_SAYS;

/// One line on the console.
pub(crate) fn say(line: impl Display) {
    // Not `eprintln`, which panics where there is no console.
    let _ = writeln!(std::io::stderr(), "{AGENT_SAYS}{line}");
}
