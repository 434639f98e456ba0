//! Whether a machine uses an image, seen before anything is made.
//!
//! It is only looked at: the locks are the hypervisors', who refuse an image that another has
//! taken in the meantime. QEMU and the native monitor lock single bytes from 100 on, all of
//! them shared; Cloud Hypervisor locks the whole file, alone where it writes.

use std::fs::File;
use std::io;
use std::path::Path;

use microagent_machine::Access;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::RunError;

/// The first byte that is locked by itself.
const FIRST: i64 = 100;
/// The byte that is locked by whoever writes.
const WRITTEN: i64 = FIRST + 1;

/// Refuses an image that a machine writes to: what was read of it would be neither what it was
/// nor what it will be.
///
/// # Errors
/// `InUse`, or why that cannot be told. One that cannot be opened is left to whoever reads it.
pub fn check_unused(image: &Path) -> Result<(), RunError> {
    let Ok(file) = File::open(image) else { return Ok(()) };
    match in_use(&file, Access::ReadOnly) {
        Ok(false) => Ok(()),
        Ok(true) => Err(RunError::InUse(image.display().to_string())),
        Err(e) => Err(RunError::state(format!("cannot see who uses {}", image.display()), e)),
    }
}

/// Whether somebody uses the image in a way that excludes this one.
pub(super) fn in_use(image: &File, access: Access) -> io::Result<bool> {
    match access {
        Access::ReadWrite => Ok(found(image, libc::F_WRLCK, (0, 0))?.is_some()),
        Access::ReadOnly => {
            let writer = found(image, libc::F_WRLCK, (WRITTEN, 1))?;
            // A lock of all of it that is shared is a reader's.
            Ok(found(image, libc::F_RDLCK, (0, 0))?.is_some()
                || writer.is_some_and(|start| start >= FIRST))
        }
    }
}

/// Where the first lock begins beside which one of this kind could not be had; a length of 0 is
/// to the end.
fn found(image: &File, kind: libc::c_int, (start, length): (i64, i64)) -> io::Result<Option<i64>> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock))?;
    let free = libc::c_int::from(lock.l_type) == libc::F_UNLCK;
    Ok((!free).then_some(lock.l_start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: libc::c_int, (start, length): (i64, i64), reads: bool, writes: bool) {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: start,
            l_len: length,
            l_pid: 0,
        };
        fcntl(image.as_file(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        let other = File::options().read(true).write(true).open(image.path()).unwrap();
        let got = |access| !in_use(&other, access).unwrap();
        assert_eq!(check_unused(image.path()).is_ok(), reads, "{kind} {start} {length}");
        let got = (got(Access::ReadOnly), got(Access::ReadWrite));
        assert_eq!(got, (reads, writes), "{kind} {start} {length}");
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        // Cloud Hypervisor.
        check(libc::F_RDLCK, (0, 4096), true, false);
        check(libc::F_WRLCK, (0, 4096), false, false);
        // The others: one that reads, and one that writes.
        check(libc::F_RDLCK, (100, 1), true, false);
        check(libc::F_RDLCK, (100, 2), false, false);
        let image = tempfile::NamedTempFile::new().unwrap();
        assert!(!in_use(image.as_file(), Access::ReadWrite).unwrap());
    }
}
