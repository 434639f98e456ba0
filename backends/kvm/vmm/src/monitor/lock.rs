//! Who uses a disk's image: locks that QEMU knows too.
//!
//! Both lock single bytes of the image, never all of it, and every lock is shared. A byte from
//! 100 on is locked by whoever uses the image in a certain way, one from 200 on by whoever
//! suffers nobody else to use it in that way. So after its own locks are set, each looks for
//! those of others (QEMU, `block/file-posix.c`). The locks belong to the open file and end
//! with it.
#![allow(unsafe_code)] // locks of open files have no safe interface

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Bytes for ways of use begin here.
const USED: i64 = 100;
/// Bytes for ways that others may not use it in.
const DENIED: i64 = 200;

/// Ways of use, by their numbers.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What an image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Others may read it as well.
    Reading,
    /// Nobody else may use it.
    Writing,
}

/// Why an image is not locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// By another machine, or a tool that makes images.
    #[error("it is in use")]
    InUse,
    /// The file system has no locks, or no more.
    #[error("it cannot be locked")]
    Refused(#[from] io::Error),
}

/// Locks an image for as long as the file is open.
pub(crate) fn lock(image: &File, how: Use) -> Result<(), LockError> {
    let used: &[i64] = match how {
        Use::Reading => &[READ],
        Use::Writing => &[READ, WRITE],
    };
    // A reader too denies that it is written to: what it read would change under it.
    let denied = [WRITE, RESIZE];
    for byte in used.iter().map(|way| USED + way).chain(denied.map(|way| DENIED + way)) {
        set(image, byte)?;
    }
    for byte in used.iter().map(|way| DENIED + way).chain(denied.map(|way| USED + way)) {
        if is_locked_by_another(image, byte)? {
            return Err(LockError::InUse);
        }
    }
    Ok(())
}

fn set(image: &File, byte: i64) -> Result<(), LockError> {
    match control(image, libc::F_OFD_SETLK, byte, libc::F_RDLCK) {
        Ok(_) => Ok(()),
        // Somebody else has an exclusive lock on it.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Err(LockError::InUse)
        }
        Err(e) => Err(e.into()),
    }
}

/// Whether an exclusive lock could not be had.
fn is_locked_by_another(image: &File, byte: i64) -> io::Result<bool> {
    Ok(control(image, libc::F_OFD_GETLK, byte, libc::F_WRLCK)? != libc::F_UNLCK as libc::c_short)
}

fn control(image: &File, what: libc::c_int, byte: i64, kind: libc::c_int) -> io::Result<i16> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: both calls take a pointer to this structure and keep none.
    match unsafe { libc::fcntl(image.as_raw_fd(), what, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_alone_and_readers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let check = |first: Use, second: Use, expect: bool| {
            let (one, two) = (open(), open());
            lock(&one, first).unwrap();
            let got = lock(&two, second);
            assert_eq!(got.is_ok(), expect, "{first:?}, {second:?}: {got:?}");
            drop((one, two));
        };
        check(Use::Reading, Use::Reading, true);
        check(Use::Reading, Use::Writing, false);
        check(Use::Writing, Use::Reading, false);
        check(Use::Writing, Use::Writing, false);
    }
}
