//! Disks belong to a machine from when it is made.
//!
//! Cloud Hypervisor itself locks images, but only when it boots. Until then, a lock of another
//! kind on the same files tells machines of this backend from each other: it is held by
//! descriptors that the monitor inherits and knows nothing of, and ends with it. Whether any
//! other hypervisor uses an image is looked at when the machine is made; what changes between
//! then and its boot is left to its own locks.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use microagent_backend::{Error, Result};
use microagent_guarded::{FIRST_USE, ImageLock, LockKind, WRITTEN, disk_in_use, lock_of_another};
use microagent_machine::{Access, Disk};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Claims images for as long as the descriptors are open, wherever they are.
///
/// # Errors
/// `Conflict` for an image that another machine uses, `Io` for one that cannot be opened.
pub(crate) fn claim(disks: &[Disk]) -> Result<Vec<OwnedFd>> {
    disks.iter().map(|disk| claim_one(disk).map(OwnedFd::from)).collect()
}

fn claim_one(disk: &Disk) -> Result<File> {
    let Disk { id: _, path, access } = disk;
    let (write, operation) = match access {
        Access::ReadOnly => (false, FlockOperation::NonBlockingLockShared),
        Access::ReadWrite => (true, FlockOperation::NonBlockingLockExclusive),
    };
    let image = File::options().read(true).write(write).open(path);
    let image = image.map_err(|e| Error::io(format!("open disk {}", path.display()), e))?;
    match flock(&image, operation) {
        Ok(()) => {}
        Err(Errno::AGAIN) => return Err(disk_in_use(path)),
        Err(e) => return Err(Error::io(format!("lock disk {}", path.display()), e.into())),
    }
    look(&image, *access, path)?;
    Ok(image)
}

/// Fails if anybody else uses the image in a way that excludes this one.
fn look(image: &File, access: Access, path: &Path) -> Result<()> {
    let found = |kind, start, len| lock_of_another(image, ImageLock { kind, start, len }, path);
    let excluded = match access {
        Access::ReadWrite => found(LockKind::Exclusive, 0, 0)?.is_some(),
        // Whoever writes to it locks a byte, shared, or all of it, alone.
        Access::ReadOnly => {
            found(LockKind::Shared, 0, 0)?.is_some()
                || found(LockKind::Exclusive, WRITTEN, 1)?
                    .is_some_and(|lock| lock.start >= FIRST_USE)
        }
    };
    if excluded { Err(disk_in_use(path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use microagent_backend::ErrorKind;
    use microagent_machine::DiskId;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::*;

    const READ: Access = Access::ReadOnly;
    const WRITE: Access = Access::ReadWrite;

    fn disk(path: &Path, access: Access) -> Disk {
        Disk { id: DiskId::new("d").unwrap(), path: path.to_owned(), access }
    }

    fn image() -> tempfile::NamedTempFile {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        image
    }

    #[test]
    fn a_writer_is_alone_and_readers_are_not() {
        let check = |first, second, expect: bool| {
            let image = image();
            let held = claim(&[disk(image.path(), first)]).unwrap();
            let got = claim(&[disk(image.path(), second)]);
            assert_eq!(got.is_ok(), expect, "{first:?} {second:?}");
            drop((got, held));
            claim(&[disk(image.path(), second)]).unwrap();
        };
        check(READ, READ, true);
        check(READ, WRITE, false);
        check(WRITE, READ, false);
        check(WRITE, WRITE, false);
    }

    /// A lock as other hypervisors set it.
    fn lock(image: &File, kind: libc::c_int, start: i64, len: i64) {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: start,
            l_len: len,
            l_pid: 0,
        };
        fcntl(image, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    }

    #[test]
    fn others_are_heeded() {
        let check = |kind, (start, len), access, expect: bool| {
            let image = image();
            lock(image.as_file(), kind, start, len);
            let got = claim(&[disk(image.path(), access)]);
            assert_eq!(got.is_ok(), expect, "{kind} {start} {len} {access:?}");
            if let Err(error) = got {
                assert_eq!(error.kind, ErrorKind::Conflict);
            }
        };
        let (reads, writes) = (libc::F_RDLCK, libc::F_WRLCK);
        // Cloud Hypervisors that have booted lock all of it.
        check(reads, (0, 4096), READ, true);
        check(reads, (0, 4096), WRITE, false);
        check(writes, (0, 4096), READ, false);
        check(writes, (0, 4096), WRITE, false);
        // All others lock single bytes: one that reads, and one that writes.
        check(reads, (100, 1), READ, true);
        check(reads, (100, 1), WRITE, false);
        check(reads, (101, 1), READ, false);
        check(reads, (101, 1), WRITE, false);
        // Neighbours are one lock.
        check(reads, (100, 2), READ, false);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = claim(&[disk(Path::new("/nonexistent/image"), READ)]).unwrap_err();
        assert_eq!(error.message, "cannot open disk /nonexistent/image");
    }
}
