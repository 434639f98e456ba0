//! The life pipe as a supervisor is given it.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Lifetime, Result};
use microagent_supervisor_protocol::{LIFE_FD, LifetimeArgs};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How long a machine may live, with the pipe that this process was given.
pub(crate) fn lifetime(args: LifetimeArgs) -> Result<Lifetime> {
    match args {
        LifetimeArgs::Detached => Ok(Lifetime::Detached),
        LifetimeArgs::Attached { remove } => Ok(Lifetime::Attached { pipe: pipe()?, remove }),
    }
}

/// A read end of the life pipe, opened anew by its number: one that is not handed on to
/// whatever a backend starts, and that is not closed twice.
fn pipe() -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/proc/self/fd/{LIFE_FD}"));
    let failed = |e| Error::io(format!("take the life pipe, descriptor {LIFE_FD}"), e);
    if !path.metadata().map_err(failed)?.file_type().is_fifo() {
        let message = format!("descriptor {LIFE_FD} is no pipe, and the machine is attached");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    // With a writer that is gone already, opening would wait for another.
    let nonblock = OFlags::NONBLOCK;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    fcntl_getfl(&file)
        .and_then(|flags| fcntl_setfl(&file, flags - nonblock))
        .map_err(|e| failed(e.into()))?;
    Ok(file.into())
}
