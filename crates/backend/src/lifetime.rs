//! How long a machine may live.

use std::os::fd::OwnedFd;

/// How long a machine may live.
#[derive(Debug)]
pub enum Lifetime {
    /// Until the last write end of this pipe is closed, be it by `kill -9` of whoever
    /// holds it. What is given here is the read end; every process of the machine watches
    /// it. At its end of file the machine's processes end and its run directory is removed,
    /// together with the paths named in `remove`.
    Attached {
        /// The read end of the pipe.
        pipe: OwnedFd,
        /// Files and directories outside the run directory that go with the machine, such
        /// as a scratch disk. Absolute paths.
        remove: Vec<std::path::PathBuf>,
    },
    /// Until `destroy`, whoever asks for it.
    Detached,
}
