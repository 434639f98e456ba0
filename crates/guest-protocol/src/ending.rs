//! The end of a machine: how long the agent takes before it writes back the disks, since the
//! host waits longer than all of it.
//!
//! After that it says what came of it, [`crate::AgentMessage::WrittenBack`]; of a machine that
//! ended without that word nothing is known.

use std::time::Duration;

/// How long processes have between SIGTERM and SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long killed processes have to be gone.
pub const KILLED: Duration = Duration::from_secs(2);
/// How long the host may take to fetch the last messages, and to hear the very last.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// The longest time between the request to end and the writing back of disks.
pub const UNTIL_WRITE_BACK: Duration = PATIENCE.saturating_add(KILLED).saturating_add(LAST_WORDS);

/// What the agent's lines on the console begin with.
pub const AGENT_SAYS: &str = "microagent-agent: ";
