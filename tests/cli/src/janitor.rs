//! What must be undone when the test process ends, however it ends.
//!
//! Tests run as threads of one process, and what they share lives in statics, which nobody
//! drops. So a small shell waits for the end of a pipe that only this process holds.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// Starts `script` with `arguments` in a shell whose standard input ends with this process.
/// It must wait for that end by itself.
#[expect(clippy::zombie_processes, reason = "it is meant to outlive this process")]
pub(crate) fn attach(script: &str, arguments: &[&Path]) -> ChildStdin {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "janitor"]).args(arguments);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().expect("start a shell");
    child.stdin.take().expect("standard input is a pipe")
}

/// A directory that the tests of this process share, and that goes with it.
pub(crate) fn shared_directory() -> &'static Path {
    static SHARED: OnceLock<(PathBuf, ChildStdin)> = OnceLock::new();
    let (path, _) = SHARED.get_or_init(|| {
        let path = tempfile::tempdir().expect("make a temporary directory").keep();
        let stdin = attach("trap '' INT TERM HUP; read _; rm -rf \"$1\"", &[&path]);
        (path, stdin)
    });
    path
}
