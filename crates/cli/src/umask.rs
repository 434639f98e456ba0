//! Whom files belong to that this program makes.

use std::sync::OnceLock;

use rustix::fs::Mode;

/// What the mask was when the program began.
static CALLERS: OnceLock<u32> = OnceLock::new();

/// Makes whatever is made, by this program or by one that it starts, its user's alone.
pub(crate) fn make_private() {
    let callers = rustix::process::umask(Mode::from_raw_mode(0o077));
    CALLERS.get_or_init(|| callers.bits());
}

/// The mask of whoever called the program, which files follow that are made for them.
pub(crate) fn callers() -> u32 {
    CALLERS.get().copied().unwrap_or(0o077)
}
