//! Locks of disk images, by which machines of all hypervisors keep out of each other's way.
//!
//! QEMU and the native monitor lock single bytes of an image, each of them shared: one from 100
//! on for each way in which they use it, one from 200 on for each way in which nobody else may
//! (QEMU, `block/file-posix.c`). A Cloud Hypervisor locks all of it, shared where it only reads.
//! The locks belong to an open file and end with it, whoever has it open by then.
//!
//! Deliberately not here: how the native monitor sets its own, which is a program that sees no
//! contract.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use microagent_machine::Access;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::{Error, ErrorKind, Result};

/// Bytes for ways of use begin here; who locks all of an image begins at its first.
const FIRST_USE: i64 = 100;
/// Bytes for ways that others may not use it in.
const FIRST_DENIAL: i64 = 200;
/// Ways of use, by their numbers.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// All of an image, beside nobody.
const WHOLE: ImageLock = ImageLock { kind: LockKind::Exclusive, start: 0, len: 0 };

/// Whether anybody uses an image in a way that excludes this one. It is only looked at: a
/// hypervisor refuses an image that another has taken in the meantime.
///
/// # Errors
/// Where the file system has no locks.
pub fn image_in_use(image: &File, access: Access) -> io::Result<bool> {
    match access {
        Access::ReadWrite => Ok(lock_of_another(image, WHOLE)?.is_some()),
        // Whoever writes to it locks a byte, shared, or all of it, alone.
        Access::ReadOnly => {
            let written = ImageLock { kind: LockKind::Exclusive, start: FIRST_USE + WRITE, len: 1 };
            let all = ImageLock { kind: LockKind::Shared, ..WHOLE };
            Ok(lock_of_another(image, all)?.is_some()
                || lock_of_another(image, written)?.is_some_and(|lock| lock.start >= FIRST_USE))
        }
    }
}

/// Claims an image for a machine that only reads it, for as long as the descriptor is open,
/// wherever it is: nobody can begin to write to it, and others may read it too, a Cloud
/// Hypervisor included, which QEMU by itself takes for one who suffers nobody else.
///
/// # Errors
/// `Conflict` for an image that is written to, `Io` for one that cannot be opened or locked.
pub fn claim_for_reading(path: &Path) -> Result<OwnedFd> {
    let failed = |what: &str, e| Error::io(format!("{what} disk {}", path.display()), e);
    let image = File::open(path).map_err(|e| failed("open", e))?;
    // What it read would change under it if others wrote to it or made it shorter.
    for start in [FIRST_USE + READ, FIRST_DENIAL + WRITE, FIRST_DENIAL + RESIZE] {
        let lock = ImageLock { kind: LockKind::Shared, start, len: 1 };
        if !set(&image, lock).map_err(|e| failed("lock", e))? {
            return Err(disk_in_use(path));
        }
    }
    // After its own are set, so that of two who do so at once at least one sees the other.
    for start in [FIRST_DENIAL + READ, FIRST_USE + WRITE, FIRST_USE + RESIZE] {
        let wanted = ImageLock { kind: LockKind::Exclusive, start, len: 1 };
        let found = lock_of_another(&image, wanted).map_err(|e| failed("look for locks of", e))?;
        if found.is_some_and(|lock| !lock.is_of_reader_of_all()) {
            return Err(disk_in_use(path));
        }
    }
    Ok(image.into())
}

/// Locks all of a file beside nobody, for as long as it is open; `false` where anybody has a
/// part of it.
///
/// # Errors
/// Where the file system has no locks, or the file was not opened to be written to.
pub fn lock_alone(file: &File) -> io::Result<bool> {
    set(file, WHOLE)
}

/// The error that another machine has a disk.
pub fn disk_in_use(path: &Path) -> Error {
    let message = format!("disk {} is in use by another machine", path.display());
    Error::new(ErrorKind::Conflict, message).with_hint("end that first")
}

/// A lock of a part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ImageLock {
    /// Beside which others it can be.
    kind: LockKind,
    /// Its first byte.
    start: i64,
    /// How many bytes; 0 is all to the image's end.
    len: i64,
}

/// Beside which others a lock can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockKind {
    /// Beside shared ones.
    Shared,
    /// Beside none.
    Exclusive,
}

impl ImageLock {
    fn is_of_reader_of_all(&self) -> bool {
        self.kind == LockKind::Shared && self.start < FIRST_USE
    }

    fn raw(self) -> libc::flock {
        let kind = match self.kind {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        };
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.start,
            l_len: self.len,
            l_pid: 0,
        }
    }
}

/// The first lock of anybody else's that this one could not be had beside.
fn lock_of_another(image: &File, wanted: ImageLock) -> io::Result<Option<ImageLock>> {
    let mut lock = wanted.raw();
    fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock))?;
    let kind = match libc::c_int::from(lock.l_type) {
        libc::F_UNLCK => return Ok(None),
        libc::F_RDLCK => LockKind::Shared,
        _ => LockKind::Exclusive,
    };
    Ok(Some(ImageLock { kind, start: lock.l_start, len: lock.l_len }))
}

/// Whether it could be had.
fn set(image: &File, lock: ImageLock) -> io::Result<bool> {
    match fcntl(image, FcntlArg::F_OFD_SETLK(&lock.raw())) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> tempfile::NamedTempFile {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        image
    }

    fn claimed(image: &tempfile::NamedTempFile, expect: Option<ErrorKind>) {
        let got = claim_for_reading(image.path()).map_err(|error| error.kind);
        assert_eq!(got.err(), expect);
    }

    #[test]
    fn readers_are_beside_each_other_and_beside_no_writer() {
        let check = |kind, (start, len), expect| {
            let image = image();
            assert!(set(image.as_file(), ImageLock { kind, start, len }).unwrap());
            claimed(&image, expect);
        };
        let (shared, conflict) = (LockKind::Shared, Some(ErrorKind::Conflict));
        // Cloud Hypervisors lock all of it.
        check(shared, (0, 4096), None);
        check(shared, (0, 0), None);
        check(LockKind::Exclusive, (0, 4096), conflict);
        // All others lock single bytes; neighbours are one lock.
        check(shared, (FIRST_USE + READ, 1), None);
        check(shared, (FIRST_DENIAL + WRITE, 1), None);
        check(shared, (FIRST_USE + WRITE, 1), conflict);
        check(shared, (FIRST_USE, 2), conflict);
        check(shared, (FIRST_USE + RESIZE, 1), conflict);
        check(shared, (FIRST_DENIAL + READ, 1), conflict);
    }

    #[test]
    fn whoever_uses_an_image_is_seen() {
        let check = |kind, (start, len), read: bool, write: bool| {
            let image = image();
            assert!(set(image.as_file(), ImageLock { kind, start, len }).unwrap());
            let other = File::open(image.path()).unwrap();
            let used = [Access::ReadOnly, Access::ReadWrite]
                .map(|access| image_in_use(&other, access).unwrap());
            assert_eq!(used, [read, write], "{kind:?} {start} {len}");
            // Who holds a lock is not in its own way.
            assert!(!image_in_use(image.as_file(), Access::ReadWrite).unwrap());
        };
        // Cloud Hypervisors.
        check(LockKind::Shared, (0, 4096), false, true);
        check(LockKind::Exclusive, (0, 4096), true, true);
        // All others: ones that read, and ones that write.
        check(LockKind::Shared, (FIRST_USE + READ, 1), false, true);
        check(LockKind::Shared, (FIRST_DENIAL + WRITE, 1), false, true);
        check(LockKind::Shared, (FIRST_USE + WRITE, 1), true, true);
        check(LockKind::Shared, (FIRST_USE, 2), true, true);
        let image = image();
        assert!(!image_in_use(image.as_file(), Access::ReadWrite).unwrap());
    }

    #[test]
    fn a_file_is_locked_alone_once() {
        let image = image();
        let other = File::options().write(true).open(image.path()).unwrap();
        assert!(lock_alone(image.as_file()).unwrap());
        assert!(!lock_alone(&other).unwrap());
        assert!(image_in_use(&other, Access::ReadOnly).unwrap());
        drop(image);
        assert!(lock_alone(&other).unwrap());
    }

    #[test]
    fn a_claim_is_seen_until_its_last_descriptor_is_closed() {
        let image = image();
        let found = || lock_of_another(image.as_file(), WHOLE).unwrap();
        assert_eq!(found(), None);
        let claim = claim_for_reading(image.path()).unwrap();
        claimed(&image, None);
        let elsewhere = claim.try_clone().unwrap();
        drop(claim);
        assert_eq!(
            found().map(|lock| (lock.kind, lock.start)),
            Some((LockKind::Shared, FIRST_USE))
        );
        drop(elsewhere);
        assert_eq!(found(), None);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = claim_for_reading(Path::new("/nonexistent/image")).unwrap_err();
        assert_eq!(error.message, "cannot open disk /nonexistent/image");
    }
}
