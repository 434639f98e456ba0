//! Disks belong to a machine from when it is made.
//!
//! Cloud Hypervisor itself locks images, but only when it boots. Until then, a lock of another
//! kind on the same files tells machines of this backend from each other: it is held by
//! descriptors that the monitor inherits and knows nothing of, and ends with it. Whether any
//! other hypervisor uses an image is looked at when the machine is made; what changes between
//! then and its boot is left to its own locks.

use std::fs::File;
use std::os::fd::OwnedFd;

use microagent_backend::{Error, Result, disk_in_use, image_in_use};
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
    match image_in_use(&image, *access) {
        Ok(false) => Ok(image),
        Ok(true) => Err(disk_in_use(path)),
        Err(e) => Err(Error::io(format!("look for locks of disk {}", path.display()), e)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use microagent_backend::{ErrorKind, claim_for_reading};
    use microagent_machine::DiskId;

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

    #[test]
    fn others_are_heeded() {
        let image = image();
        let _reader = claim_for_reading(image.path()).unwrap();
        claim(&[disk(image.path(), READ)]).unwrap();
        let error = claim(&[disk(image.path(), WRITE)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = claim(&[disk(Path::new("/nonexistent/image"), READ)]).unwrap_err();
        assert_eq!(error.message, "cannot open disk /nonexistent/image");
    }
}
