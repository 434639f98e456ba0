//! The names of the native monitor's own files in a run directory; all others are those of
//! any machine.

pub(crate) use microagent_guarded::files::{CONSOLE, VSOCK};

/// Where the monitor takes requests.
pub(crate) const CONTROL: &str = "control.sock";

/// All that this driver puts into a run directory beside what every machine has there.
pub(crate) const OWN: &[&str] = &[CONTROL];
