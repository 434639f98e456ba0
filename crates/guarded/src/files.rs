//! The names of files that every machine has in its run directory.

use std::io;

use microagent_backend::RunDir;

/// The hybrid vsock socket.
pub const VSOCK: &str = "vsock";
/// The beginning of the console log.
pub const CONSOLE: &str = "console.log";
/// What the guard has to say beside its reports.
pub const GUARD_LOG: &str = "guard.log";
/// What a gateway and passt have to say.
pub const GATEWAY_LOG: &str = "gateway.log";
/// What the machine is made of.
pub const RECORD: &str = "machine.json";
/// The record while it is written.
pub(crate) const RECORD_DRAFT: &str = "machine.json.new";
/// The processes of a machine that is not complete.
pub(crate) const PARTS: &str = "parts.jsonl";
/// Exists once somebody asked for the machine's end.
pub const KILLED: &str = "killed";
/// Why the driver ended a machine that nobody asked to end.
pub const FAILED: &str = "failed";

/// All that a guard and its driver put into a run directory.
pub const ALL: &[&str] = &[
    VSOCK,
    CONSOLE,
    "console.log.1",
    "console.log.2",
    GUARD_LOG,
    GATEWAY_LOG,
    RECORD,
    RECORD_DRAFT,
    PARTS,
    KILLED,
    FAILED,
    microagent_vmm_protocol::EXIT_FILE,
    "exit.json.new",
];

/// Leaves a note in a run directory, once. A directory that is gone needs none.
pub(crate) fn note(dir: &RunDir, name: &str, text: &str) -> io::Result<()> {
    match std::fs::OpenOptions::new().write(true).create_new(true).open(dir.file(name)) {
        Ok(mut file) => io::Write::write_all(&mut file, text.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
