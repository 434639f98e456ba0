//! Cheap writable copies of a disk, and scratch disks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::RootfsError;
use crate::spool::unnamed_file;

/// How a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneMethod {
    /// The file system shares the blocks until they are written.
    Reflink,
    /// Data was copied, holes were not.
    Sparse,
}

/// Bytes moved at a time where the kernel cannot copy between the two files.
const COPY_BUFFER: usize = 1 << 20;

/// Makes a writable copy of the disk `base` at `to`, which must not exist, with
/// mode 0600; lengthens it to `size_mib` MiB if that is given.
///
/// # Errors
/// [`RootfsError::TooSmall`] when `size_mib` is less than the base's length,
/// else [`RootfsError::Io`]; nothing is left at `to` then.
pub fn clone_for_run(
    base: &Path,
    to: &Path,
    size_mib: Option<u32>,
) -> Result<CloneMethod, RootfsError> {
    let from = File::open(base).map_err(RootfsError::io(format!("opening {}", base.display())))?;
    let length = from
        .metadata()
        .map_err(RootfsError::io(format!("reading the length of {}", base.display())))?
        .len();
    let wanted = size_mib.map_or(length, |mib| u64::from(mib) << 20);
    if wanted < length {
        return Err(RootfsError::TooSmall {
            asked_mib: wanted >> 20,
            minimum_mib: length.div_ceil(1 << 20),
        });
    }
    let copy = create_private(to).map_err(RootfsError::io(format!("making {}", to.display())))?;
    fill(&from, &copy, length, wanted).map_err(|source| {
        // The copy is useless; that it could not be removed adds nothing.
        let _ = std::fs::remove_file(to);
        RootfsError::Io { doing: format!("copying {} to {}", base.display(), to.display()), source }
    })
}

/// Whether files in `dir` can share blocks, found by trying it on two unnamed
/// ones.
pub fn can_reflink(dir: &Path) -> bool {
    let attempt = || -> io::Result<()> {
        let one = unnamed_file(dir)?;
        let other = unnamed_file(dir)?;
        one.write_all_at(&[1; 4096], 0)?;
        Ok(ioctl_ficlone(&other, &one)?)
    };
    attempt().is_ok()
}

/// Makes an empty disk of `size_bytes` at `path`, which must not exist: one
/// hole, mode 0600.
///
/// # Errors
/// [`RootfsError::Io`]; nothing is left at `path` then.
pub fn make_scratch(path: &Path, size_bytes: u64) -> Result<(), RootfsError> {
    let file =
        create_private(path).map_err(RootfsError::io(format!("making {}", path.display())))?;
    file.set_len(size_bytes).map_err(|source| {
        let _ = std::fs::remove_file(path);
        let doing = format!("giving {} a length of {size_bytes} bytes", path.display());
        RootfsError::Io { doing, source }
    })
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn fill(from: &File, to: &File, length: u64, wanted: u64) -> io::Result<CloneMethod> {
    let method = if ioctl_ficlone(to, from).is_ok() {
        CloneMethod::Reflink
    } else {
        copy_data(from, to, length)?;
        CloneMethod::Sparse
    };
    to.set_len(wanted)?;
    Ok(method)
}

/// Copies the data of `from`, stretch by stretch.
fn copy_data(from: &File, to: &File, length: u64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data after `at`.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?.min(length);
        copy_stretch(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_stretch(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            // Across file systems, or on one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER];
    while at < end {
        let now = usize::try_from(end - at).unwrap_or(usize::MAX).min(COPY_BUFFER);
        from.read_exact_at(&mut buffer[..now], at)?;
        to.write_all_at(&buffer[..now], at)?;
        at += now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn copies_are_equal_private_and_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        let file = File::create(&base).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&[7; 10_000], 20 << 20).unwrap();
        drop(file);
        for (name, size, length) in [("same", None, 64 << 20), ("more", Some(100), 100 << 20)] {
            let to = dir.path().join(name);
            clone_for_run(&base, &to, size).unwrap();
            let meta = std::fs::metadata(&to).unwrap();
            assert_eq!(meta.len(), length);
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
            assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
            let copy = std::fs::read(&to).unwrap();
            assert!(copy[..64 << 20] == std::fs::read(&base).unwrap());
            assert!(copy[64 << 20..].iter().all(|&b| b == 0));
        }
        let again = clone_for_run(&base, &dir.path().join("same"), None).unwrap_err();
        assert_eq!(again.kind(), crate::ErrorKind::Io);
        let to = dir.path().join("less");
        let less = clone_for_run(&base, &to, Some(63)).unwrap_err();
        assert_eq!(less.kind(), crate::ErrorKind::TooSmall);
        assert!(!to.exists());
    }

    #[test]
    fn scratch_is_one_private_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scratch");
        make_scratch(&path, 1 << 40).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.blocks()), (1 << 40, 0));
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert!(make_scratch(&path, 1).is_err());
    }

    #[test]
    fn probing_for_reflinks_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let _ = can_reflink(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!can_reflink(Path::new("/proc")));
    }
}
