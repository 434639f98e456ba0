//! Locks of disk images, by which machines of all hypervisors keep out of each other's way.
//!
//! QEMU and the native monitor lock single bytes of an image, each of them shared: one from 100
//! on for each way in which they use it, one from 200 on for each way in which nobody else may
//! (QEMU, `block/file-posix.c`). A Cloud Hypervisor locks all of it, shared where it only reads.
//! The locks belong to an open file and end with it, whoever has it open by then.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use microagent_backend::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Bytes for ways of use begin here; who locks all of an image begins at its first.
pub const FIRST_USE: i64 = 100;
/// The byte that is locked by who writes to an image.
pub const WRITTEN: i64 = FIRST_USE + WRITE;

/// Bytes for ways that others may not use it in.
const FIRST_DENIAL: i64 = 200;
/// Ways of use, by their numbers.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// A lock of a part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLock {
    /// Beside which others it can be.
    pub kind: LockKind,
    /// Its first byte.
    pub start: i64,
    /// How many bytes; 0 is all to the image's end.
    pub len: i64,
}

/// Beside which others a lock can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Beside shared ones.
    Shared,
    /// Beside none.
    Exclusive,
}

/// Claims an image for a machine that only reads it, for as long as the descriptor is open,
/// wherever it is: nobody can begin to write to it, and others may read it too, a Cloud
/// Hypervisor included, which QEMU by itself takes for one who suffers nobody else.
///
/// # Errors
/// `Conflict` for an image that is written to, `Io` for one that cannot be opened or locked.
pub fn claim_for_reading(path: &Path) -> Result<OwnedFd> {
    let image = File::open(path);
    let image = image.map_err(|e| Error::io(format!("open disk {}", path.display()), e))?;
    // What it read would change under it if others wrote to it or made it shorter.
    for start in [FIRST_USE + READ, FIRST_DENIAL + WRITE, FIRST_DENIAL + RESIZE] {
        set(&image, ImageLock { kind: LockKind::Shared, start, len: 1 }, path)?;
    }
    // After its own are set, so that of two who do so at once at least one sees the other.
    for start in [FIRST_DENIAL + READ, FIRST_USE + WRITE, FIRST_USE + RESIZE] {
        let wanted = ImageLock { kind: LockKind::Exclusive, start, len: 1 };
        if lock_of_another(&image, wanted, path)?.is_some_and(|lock| !lock.is_of_reader_of_all()) {
            return Err(disk_in_use(path));
        }
    }
    Ok(image.into())
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
///
/// # Errors
/// `Io` where the file system has no locks.
pub fn lock_of_another(image: &File, wanted: ImageLock, path: &Path) -> Result<Option<ImageLock>> {
    let mut lock = wanted.raw();
    fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock))
        .map_err(|e| Error::io(format!("look for locks of disk {}", path.display()), e.into()))?;
    let kind = match libc::c_int::from(lock.l_type) {
        libc::F_UNLCK => return Ok(None),
        libc::F_RDLCK => LockKind::Shared,
        _ => LockKind::Exclusive,
    };
    Ok(Some(ImageLock { kind, start: lock.l_start, len: lock.l_len }))
}

fn set(image: &File, lock: ImageLock, path: &Path) -> Result<()> {
    match fcntl(image, FcntlArg::F_OFD_SETLK(&lock.raw())) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(disk_in_use(path)),
        Err(e) => Err(Error::io(format!("lock disk {}", path.display()), e.into())),
    }
}

/// The error that another machine has a disk.
pub fn disk_in_use(path: &Path) -> Error {
    let message = format!("disk {} is in use by another machine", path.display());
    Error::new(ErrorKind::Conflict, message).with_hint("end that first")
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
            set(image.as_file(), ImageLock { kind, start, len }, image.path()).unwrap();
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
        check(shared, (WRITTEN, 1), conflict);
        check(shared, (FIRST_USE, 2), conflict);
        check(shared, (FIRST_USE + RESIZE, 1), conflict);
        check(shared, (FIRST_DENIAL + READ, 1), conflict);
    }

    #[test]
    fn a_claim_is_seen_until_its_last_descriptor_is_closed() {
        let image = image();
        let found = || {
            let whole = ImageLock { kind: LockKind::Exclusive, start: 0, len: 0 };
            lock_of_another(image.as_file(), whole, image.path()).unwrap()
        };
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
