//! Disks that are made of an archive or a directory when the machine is.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use microagent_machine::DiskId;
use microagent_rootfs::{BundleRequest, DiskSize, ErrorKind, Limits, Owners, RootfsError};

use super::{DiskRequest, DiskSource};
use crate::RunError;

/// Refuses a source that is neither a file nor a directory, or cannot be read.
pub(super) fn check(disk: &DiskRequest) -> Result<(), RunError> {
    let DiskSource::Bundle { path, .. } = &disk.source else { return Ok(()) };
    let refused = |reason: String| RunError::Disk {
        id: disk.id.to_string(),
        path: path.clone(),
        reason,
        hint: None,
    };
    // Before it is opened: a named pipe would wait for its other end.
    let meta = path.metadata().map_err(|e| refused(e.to_string()))?;
    if !meta.is_file() && !meta.is_dir() {
        return Err(refused("it is neither an archive nor a directory".into()));
    }
    File::open(path).map(drop).map_err(|e| refused(e.to_string()))
}

/// Makes the disk, on a thread of its own, so that an interrupt is heard meanwhile.
pub(super) async fn make(
    id: &DiskId,
    source: &Path,
    owners: Owners,
    directory: &Path,
) -> Result<PathBuf, RunError> {
    let disk = directory.join(format!("bundle-{id}.ext4"));
    let (id, source, out) = (id.clone(), source.to_owned(), disk.clone());
    let building = tokio::task::spawn_blocking(move || build(&id, &source, owners, &out));
    let built = building.await.unwrap_or_else(|e| {
        Err(RunError::state(format!("cannot make {}", disk.display()), e.into()))
    });
    built.map(|()| disk)
}

fn build(id: &DiskId, source: &Path, owners: Owners, out: &Path) -> Result<(), RunError> {
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(out);
    let file = file.map_err(|e| RunError::state(format!("cannot make {}", out.display()), e))?;
    let request = BundleRequest {
        source,
        description: "archive",
        owners,
        size: DiskSize::Default,
        identity: &format!("bundle {id}"),
        limits: Limits::default(),
    };
    let built = microagent_rootfs::build_bundle(&request, &file, &|_| ());
    built.map(drop).map_err(|error| RunError::Disk {
        id: id.to_string(),
        path: source.to_owned(),
        reason: crate::error::chain(&error),
        hint: hint_of(&error),
    })
}

/// What helps with an image's disk, another writer or size, does not exist for these.
fn hint_of(error: &RootfsError) -> Option<String> {
    match error.kind() {
        ErrorKind::Unsupported | ErrorKind::TooSmall => None,
        _ => error.hint(),
    }
}
