//! Resource limits and no new privileges.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Resource limits, set soft and hard alike so that they cannot be raised again.
///
/// A core dump of a process that maps guest memory is a copy of the guest, so dumping cores
/// is always forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest file that may be written, in bytes. Memory made with `memfd_create` counts
    /// as a file.
    pub file_size: u64,
    /// Number above which no file descriptor is opened.
    pub open_files: u64,
}

impl Limits {
    /// Sets the limits of this process.
    ///
    /// Async-signal-safe: it makes system calls and nothing else.
    ///
    /// # Errors
    /// A limit above the hard limit already in force, without the privilege to raise it.
    pub fn apply(&self) -> io::Result<()> {
        let Self { file_size, open_files } = *self;
        for (resource, value) in
            [(Resource::Core, 0), (Resource::Fsize, file_size), (Resource::Nofile, open_files)]
        {
            setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
        }
        Ok(())
    }
}

/// Forbids this thread, and what it starts, to gain privileges by running a program.
///
/// Async-signal-safe.
///
/// # Errors
/// None on any kernel that this program runs on.
pub fn forbid_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
