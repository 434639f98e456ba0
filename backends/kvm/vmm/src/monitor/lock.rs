//! Who uses a disk's image: locks that QEMU knows too.
//!
//! Both lock single bytes of the image, never all of it, and every lock is shared. A byte from
//! 100 on is locked by whoever uses the image in a certain way, one from 200 on by whoever
//! suffers nobody else to use it in that way. So after its own locks are set, each looks for
//! those of others (QEMU, `block/file-posix.c`). The locks belong to the open file and end
//! with it. Cloud Hypervisor locks all of an image at once, shared where it reads: for another
//! reader that is no obstacle.
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
        match lock_of_another(image, byte)? {
            None => {}
            Some(other) if how == Use::Reading && other.is_of_a_reader_of_all() => {}
            Some(_) => return Err(LockError::InUse),
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

/// A lock of somebody else's.
struct Other {
    kind: libc::c_int,
    /// Where it begins; single bytes beside each other are one lock.
    start: i64,
}

impl Other {
    fn is_of_a_reader_of_all(&self) -> bool {
        self.kind == libc::F_RDLCK && self.start < USED
    }
}

/// The lock beside which an exclusive one could not be had.
fn lock_of_another(image: &File, byte: i64) -> io::Result<Option<Other>> {
    let lock = control(image, libc::F_OFD_GETLK, byte, libc::F_WRLCK)?;
    let kind = libc::c_int::from(lock.l_type);
    Ok((kind != libc::F_UNLCK).then_some(Other { kind, start: lock.l_start }))
}

fn control(
    image: &File,
    what: libc::c_int,
    byte: i64,
    kind: libc::c_int,
) -> io::Result<libc::flock> {
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
        _ => Ok(lock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_all_of_it_is_no_obstacle_to_readers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap().set_len(4096).unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let check = |all: libc::c_int, how: Use, expect: bool| {
            let (one, two) = (open(), open());
            let whole = libc::flock {
                l_type: all as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: 0,
                l_len: 4096,
                l_pid: 0,
            };
            // SAFETY: the call takes a pointer to this structure and keeps none.
            let set = unsafe { libc::fcntl(one.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
            assert_eq!(set, 0);
            assert_eq!(lock(&two, how).is_ok(), expect, "{all} {how:?}");
            drop((one, two));
        };
        check(libc::F_RDLCK, Use::Reading, true);
        check(libc::F_RDLCK, Use::Writing, false);
        check(libc::F_WRLCK, Use::Reading, false);
        check(libc::F_WRLCK, Use::Writing, false);
    }

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
