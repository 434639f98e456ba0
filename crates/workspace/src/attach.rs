//! Disks beside the root disk: what was asked for, and what a machine gets.
//!
//! Each has a name, by which the guest finds it whatever its device is called, and a place
//! where the agent mounts it. Who uses an image is the backends' to know: each locks the images
//! of its machines, alone to write and together to read, for as long as the machine lives.

mod bundle;
mod image;
mod mount_point;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use microagent_guest_protocol::Mount;
use microagent_machine::{Access, Disk, DiskId};
use microagent_rootfs::Owners;

pub(crate) use image::check_copied;
pub use image::check_unused;
pub use mount_point::{InvalidMountPoint, MountPoint};

use crate::plan::RESERVED_IDS;
use crate::volumes::{self, HeldVolume};
use crate::{Progress, RunError, StateDir};

/// A disk that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRequest {
    /// Its name, which is its serial number in the guest.
    pub id: DiskId,
    /// What is in it.
    pub source: DiskSource,
    /// Where it is mounted.
    pub target: MountPoint,
    /// Whether the guest may write to it.
    pub access: Access,
}

/// What is in a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// What this ext4 image holds. Written to, it is changed.
    Image {
        /// The image.
        path: PathBuf,
    },
    /// What an archive or a directory of the host holds when the machine is made. What the
    /// guest writes is gone with the machine.
    Bundle {
        /// A tar, plain or packed with gzip or zstd; or a directory.
        path: PathBuf,
        /// Whose its files are.
        owners: Owners,
    },
    /// A named volume, which no other machine uses meanwhile.
    Volume {
        /// Its name.
        name: DiskId,
    },
}

/// A disk that is there for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) id: DiskId,
    pub(crate) path: PathBuf,
    pub(crate) target: MountPoint,
    pub(crate) access: Access,
}

impl Attached {
    pub(crate) fn disk(&self) -> Disk {
        Disk { id: self.id.clone(), path: self.path.clone(), access: self.access }
    }
}

impl DiskRequest {
    /// Whether what the guest writes to it outlives the machine.
    pub(crate) fn lasts(&self) -> bool {
        let Self { id: _, source, target: _, access } = self;
        match source {
            DiskSource::Image { .. } | DiskSource::Volume { .. } => *access == Access::ReadWrite,
            DiskSource::Bundle { .. } => false,
        }
    }

    /// The disk with nothing in it, for a machine that is only compared with what can be had.
    pub(crate) fn stand_in(&self) -> Attached {
        self.attached(match &self.source {
            DiskSource::Image { path } | DiskSource::Bundle { path, .. } => path.clone(),
            DiskSource::Volume { name } => PathBuf::from(name.as_str()),
        })
    }

    fn attached(&self, path: PathBuf) -> Attached {
        Attached { id: self.id.clone(), path, target: self.target.clone(), access: self.access }
    }
}

/// Refuses names and places that are given twice, and names that root disks have.
///
/// # Errors
/// `Usage`
pub fn check_names(disks: &[DiskRequest]) -> Result<(), RunError> {
    for (at, disk) in disks.iter().enumerate() {
        let before = disks.get(..at).unwrap_or_default();
        let id = &disk.id;
        if RESERVED_IDS.contains(&id.as_str()) {
            return Err(RunError::Usage {
                message: format!("disk name '{id}' is the root disk's own"),
                hint: Some("choose another name".into()),
            });
        }
        if before.iter().any(|other| other.id == *id) {
            return Err(RunError::usage(format!("two disks are named '{id}'")));
        }
        if before.iter().any(|other| other.target == disk.target) {
            return Err(RunError::usage(format!("two disks are to be mounted at {}", disk.target)));
        }
    }
    Ok(())
}

/// Refuses disks that cannot be had, before anything is made for them.
///
/// # Errors
/// As a run with them.
pub fn check_disks(disks: &[DiskRequest], state: &StateDir) -> Result<(), RunError> {
    check(disks, state).map(drop)
}

/// Looks at everything that disks are to be made of, and changes nothing. The volumes among
/// them are this process's from now on.
pub(crate) fn check(disks: &[DiskRequest], state: &StateDir) -> Result<Vec<HeldVolume>, RunError> {
    image::check(disks)?;
    disks.iter().try_for_each(bundle::check)?;
    let mut held = Vec::new();
    for disk in disks {
        if let DiskSource::Volume { name } = &disk.source {
            let volume = volumes::hold(state, name)?;
            image::check_one(&disk.id, &volume.disk, disk.access)?;
            held.push(volume);
        }
    }
    Ok(held)
}

/// Makes the volumes among disks this process's, whatever is in them.
pub(crate) fn hold_volumes(
    disks: &[DiskRequest],
    state: &StateDir,
) -> Result<Vec<HeldVolume>, RunError> {
    let volume = |disk: &DiskRequest| match &disk.source {
        DiskSource::Volume { name } => Some(volumes::hold(state, name)),
        DiskSource::Image { .. } | DiskSource::Bundle { .. } => None,
    };
    disks.iter().filter_map(volume).collect()
}

/// Makes the disks, in the order in which they were asked for; what is made for this machine
/// alone, in its directory.
pub(crate) async fn attach(
    disks: &[DiskRequest],
    state: &StateDir,
    directory: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Attached>, RunError> {
    let mut attached = Vec::with_capacity(disks.len());
    for disk in disks {
        attached.push(match &disk.source {
            DiskSource::Image { path } => disk.attached(image::absolute(path)?),
            DiskSource::Bundle { path, owners } => {
                progress.bundling(disk.id.as_str());
                disk.attached(bundle::make(&disk.id, path, *owners, directory).await?)
            }
            DiskSource::Volume { name } => {
                disk.attached(volumes::inspect_volume(state, name)?.path)
            }
        });
    }
    Ok(attached)
}

/// What the agent is told: a disk that is mounted within another comes after it.
pub(crate) fn mounts(attached: &[Attached]) -> Vec<Mount> {
    let mut sorted: Vec<_> = attached.iter().collect();
    sorted.sort_by_key(|disk| disk.target.depth());
    let mount = |disk: &Attached| Mount {
        disk: disk.id.to_string(),
        target: disk.target.to_string(),
        read_only: disk.access == Access::ReadOnly,
    };
    sorted.into_iter().map(mount).collect()
}
