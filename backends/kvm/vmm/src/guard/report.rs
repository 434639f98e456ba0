//! What the guard tells: lines to whoever started it, and a file for whoever comes later.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use microagent_vmm_protocol::{ChildExit, EXIT_FILE, GuardReport};

/// Writes a line to standard output. That nobody listens any more is no error.
pub(crate) fn send(report: &GuardReport) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// Records the end of the child in the working directory, whole or not at all.
pub(crate) fn keep(exit: &ChildExit) -> io::Result<()> {
    let draft = format!("{EXIT_FILE}.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(exit)?)?;
    fs::rename(draft, EXIT_FILE)
}
