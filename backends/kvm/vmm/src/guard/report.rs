//! What the guard tells: lines to whoever started it, and a file for whoever comes later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use microagent_vmm_protocol::{ChildExit, EXIT_FILE, GuardReport, MAX_LAST_WORDS};

/// What [`EXIT_FILE`] is called until it is whole.
const DRAFT: &str = "exit.json.new";

/// Writes a line to standard output. That nobody listens any more is no error.
pub(crate) fn send(report: &GuardReport) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

/// As long as a record can be: a byte of the child's last words takes up to six.
const LONGEST: usize = 6 * MAX_LAST_WORDS + 1024;

/// Room for the record of the child's end in the working directory, taken while there is some:
/// a guest, or its neighbours, may have filled the disk by then.
pub(crate) struct Room(File);

impl Room {
    pub(crate) fn take() -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(DRAFT)?;
        // Blanks after it are part of JSON.
        file.write_all(&[b' '; LONGEST])?;
        Ok(Self(file))
    }

    /// Records how the child ended, whole or not at all.
    pub(crate) fn keep(mut self, exit: &ChildExit) -> io::Result<()> {
        self.0.rewind()?;
        self.0.write_all(&serde_json::to_vec(exit)?)?;
        fs::rename(DRAFT, EXIT_FILE)
    }
}
