//! Writing one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file.
///
/// Another process writes it: a descriptor of this one would be in whatever another test forks
/// at that moment, and a file that somebody has open for writing cannot be run (`ETXTBSY`).
///
/// # Panics
///
/// If the file cannot be written.
pub fn write(path: &Path, text: &str) {
    let line = r#"cat > "$0" && chmod 755 "$0""#;
    let mut shell = Command::new("/bin/sh");
    let mut shell = shell.args(["-c", line]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "cannot write {}", path.display());
}
