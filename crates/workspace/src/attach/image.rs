//! Images of the user's.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use microagent_backend::image_in_use;
use microagent_machine::{Access, DiskId};

use super::{DiskRequest, DiskSource};
use crate::RunError;

/// A disk's length is a multiple of this, in bytes.
const SECTOR: u64 = 512;

/// Refuses an image that a machine writes to: what was read of it would be neither what it was
/// nor what it will be.
///
/// # Errors
/// `InUse`, or why that cannot be told. One that cannot be opened is left to whoever reads it.
pub fn check_unused(image: &Path) -> Result<(), RunError> {
    let Ok(file) = File::open(image) else { return Ok(()) };
    match image_in_use(&file, Access::ReadOnly) {
        Ok(false) => Ok(()),
        Ok(true) => Err(RunError::InUse(image.display().to_string())),
        Err(e) => Err(RunError::state(format!("cannot see who uses {}", image.display()), e)),
    }
}

/// Refuses images that cannot be attached, and one that is written to and attached twice.
pub(super) fn check(disks: &[DiskRequest]) -> Result<(), RunError> {
    let mut seen: Vec<(u64, u64, &DiskRequest)> = Vec::new();
    for disk in disks {
        let DiskSource::Image { path } = &disk.source else { continue };
        let meta = check_one(&disk.id, path, disk.access)?;
        let twice = seen.iter().find(|(device, inode, other)| {
            let written = disk.access == Access::ReadWrite || other.access == Access::ReadWrite;
            (*device, *inode) == (meta.dev(), meta.ino()) && written
        });
        if let Some((_, _, other)) = twice {
            let message = format!("disks '{}' and '{}' are the same image", other.id, disk.id);
            let hint = "an image can be attached twice only if both are read-only";
            return Err(RunError::Usage { message, hint: Some(hint.into()) });
        }
        seen.push((meta.dev(), meta.ino(), disk));
    }
    Ok(())
}

/// What an image is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UseOf {
    /// It is a machine's as it is.
    Attached,
    /// A copy of it is.
    Copied,
}

/// Whether this is an ext4 image that can be attached so.
pub(super) fn check_one(id: &DiskId, path: &Path, access: Access) -> Result<Metadata, RunError> {
    look_at(id, path, access, UseOf::Attached)
}

/// Refuses what is no ext4 image that can be copied: nobody may write to it meanwhile. One that
/// was not unmounted is mended where its copy is mounted.
///
/// # Errors
/// `Disk`
pub(crate) fn check_copied(id: &DiskId, path: &Path) -> Result<(), RunError> {
    look_at(id, path, Access::ReadOnly, UseOf::Copied).map(drop)
}

fn look_at(id: &DiskId, path: &Path, access: Access, use_of: UseOf) -> Result<Metadata, RunError> {
    let refused = |reason: String, hint: &str| RunError::Disk {
        id: id.to_string(),
        path: path.to_owned(),
        reason,
        hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
    };
    // Before it is opened: a named pipe would wait for its other end.
    let meta = path.metadata().map_err(|e| refused(e.to_string(), ""))?;
    if !meta.is_file() {
        return Err(refused("it is no regular file".into(), hint_of(path)));
    }
    let open = File::options().read(true).write(access == Access::ReadWrite).open(path);
    let image = open.map_err(|e| refused(e.to_string(), ""))?;
    let used = image_in_use(&image, access).map_err(|e| refused(e.to_string(), ""))?;
    if used {
        return Err(refused("it is in use by another machine".into(), "end that first"));
    }
    let facts = microagent_rootfs::inspect(&image)
        .map_err(|e| refused(crate::error::chain(&e), "make one with `mke2fs -t ext4`"))?;
    if !meta.len().is_multiple_of(SECTOR) {
        let reason = format!("{} bytes are no whole number of sectors", meta.len());
        return Err(refused(reason, "lengthen it with `truncate --size %4096`"));
    }
    let attached = use_of == UseOf::Attached;
    if facts.needs_recovery && access == Access::ReadOnly && attached {
        let reason = "it was not unmounted, and cannot be mended where it must not be written to";
        return Err(refused(reason.into(), "attach it read-write once, or run `e2fsck` on it"));
    }
    Ok(meta)
}

fn hint_of(path: &Path) -> &'static str {
    if path.is_dir() { "a directory can be packed at start: --bundle" } else { "" }
}

/// The image's path from the root: hypervisors run elsewhere.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, RunError> {
    path.canonicalize().map_err(|e| RunError::state(format!("cannot find {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use microagent_backend::{claim_for_reading, lock_alone};

    use super::*;

    #[test]
    fn an_image_that_is_read_may_be_read_and_one_that_is_written_to_may_not() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let reader = claim_for_reading(image.path()).unwrap();
        check_unused(image.path()).unwrap();
        drop(reader);
        assert!(lock_alone(image.as_file()).unwrap());
        let error = check_unused(image.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is in use", image.path().display()));
        check_unused(Path::new("/nonexistent/image")).unwrap();
    }
}
