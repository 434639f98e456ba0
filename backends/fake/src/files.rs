//! The files of a fake machine in its run directory.

use microagent_backend::{Error, Result, RunDir};

/// Fifo by which the guest is started and sees the end of its guard.
pub(crate) const CONTROL: &str = "control";
/// Fifo that every process of the machine keeps open.
pub(crate) const ALIVE: &str = "alive";
/// There until the guest is started; who removes it has started the guest.
pub(crate) const HELD: &str = "held";
/// There while the guest is paused; who makes it has paused the guest.
pub(crate) const PAUSED: &str = "paused";
/// There if somebody asked for the guest's end.
pub(crate) const KILLED: &str = "killed";
/// The guest's exit status as its guard saw it.
pub(crate) const EXIT: &str = "exit";
/// The console.
pub(crate) const CONSOLE: &str = "console";
/// The hybrid vsock socket, which nobody makes.
pub(crate) const VSOCK: &str = "vsock";

/// All of them, as far as `create` can leave them behind.
pub(crate) const ALL: [&str; 9] = [
    CONTROL,
    ALIVE,
    HELD,
    PAUSED,
    KILLED,
    EXIT,
    CONSOLE,
    crate::record::FILE,
    crate::record::NEW_FILE,
];

/// Removes a file, and says whether it was there.
pub(crate) fn remove(dir: &RunDir, name: &str) -> Result<bool> {
    match std::fs::remove_file(dir.file(name)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(format!("remove {}", dir.file(name).display()), e)),
    }
}

/// Makes an empty file, and says whether it was not there before.
pub(crate) fn make(dir: &RunDir, name: &str) -> Result<bool> {
    match std::fs::File::create_new(dir.file(name)) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(Error::io(format!("make {}", dir.file(name).display()), e)),
    }
}
