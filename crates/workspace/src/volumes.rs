//! Named volumes: disks that outlive every machine that uses them.
//!
//! ```text
//! <state>/volumes/<name>/volume.json    what it is
//!                        disk.ext4      its file system
//!                        lock           held by the one machine that uses it
//! ```
//! There is no other index, so that none can be wrong: a volume is made and removed under a
//! name that begins with a dot, and is there or not by one rename. What a killed command left
//! under such a name, the next one removes.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use microagent_backend::{image_in_use, lock_alone};
use microagent_machine::{Access, DiskId, MiB};
use microagent_rootfs::DiskSize;
use serde::{Deserialize, Serialize};

use crate::state_dir::write_new;
use crate::{RunError, StateDir};

/// The size of a volume that is given none.
pub const DEFAULT_VOLUME: MiB = MiB(1024);

/// Words before a colon that begin the name of an image, and so can be no volume's.
pub const TRANSPORTS: [&str; 3] = ["oci", "oci-archive", "docker-archive"];

const RECORD: &str = "volume.json";
const DISK: &str = "disk.ext4";
const LOCK: &str = "lock";
/// Version of the record.
const VERSION: u32 = 1;

/// A volume. Its JSON form is part of the command-line interface.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// Its name.
    pub name: DiskId,
    /// Size of its disk.
    pub size_mib: MiB,
    /// Bytes that it takes on the host.
    pub used_bytes: u64,
    /// When it was made: RFC 3339, UTC.
    pub created_at: String,
    /// Its disk.
    pub path: PathBuf,
    /// Whether a machine uses it.
    pub in_use: bool,
}

/// Content of [`RECORD`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    name: DiskId,
    size_mib: MiB,
    created_at: String,
}

/// Makes an empty volume.
///
/// # Errors
/// `Usage` for a name that is taken or that an image could have, and a size that is too small.
pub fn create_volume(state: &StateDir, name: &DiskId, size: MiB) -> Result<Volume, RunError> {
    if TRANSPORTS.contains(&name.as_str()) {
        return Err(RunError::usage(format!("volume name '{name}' begins the name of an image")));
    }
    let _all = swept(state)?;
    let (place, unfinished) = (place(state, name), aside(state, "new", name));
    if place.exists() {
        return Err(RunError::Usage {
            message: format!("volume '{name}' exists already"),
            hint: Some(format!("microagent volume rm {name}")),
        });
    }
    let failed = |e| RunError::state(format!("cannot make {}", unfinished.display()), e);
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(failed)?;
    let made = fill(&unfinished, name, size).and_then(|()| {
        fs::rename(&unfinished, &place)
            .map_err(|e| RunError::state(format!("cannot make {}", place.display()), e))
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    made?;
    sync(&state.volumes())?;
    inspect_volume(state, name)
}

fn fill(directory: &Path, name: &DiskId, size: MiB) -> Result<(), RunError> {
    let failed = |e| RunError::state(format!("cannot write to {}", directory.display()), e);
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    let disk = options.open(directory.join(DISK)).map_err(failed)?;
    let created_at = jiff::Timestamp::now().to_string();
    let identity = format!("volume {name} {created_at}");
    microagent_rootfs::build_empty(DiskSize::MiB(size.0), &identity, &disk)?;
    disk.sync_all().map_err(failed)?;
    options.open(directory.join(LOCK)).map_err(failed)?;
    let record = Record { version: VERSION, name: name.clone(), size_mib: size, created_at };
    write_new(&directory.join(RECORD), &record).map_err(failed)?;
    sync(directory)
}

/// All volumes, by name.
///
/// # Errors
/// Where one of them cannot be read.
pub fn volumes(state: &StateDir) -> Result<Vec<Volume>, RunError> {
    let directory = state.volumes();
    let failed = |e| RunError::state(format!("cannot read {}", directory.display()), e);
    let entries = match fs::read_dir(&directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // Those under other names are being made or removed.
        names.extend(name.to_str().and_then(|name| DiskId::new(name).ok()));
    }
    names.sort();
    names.iter().map(|name| inspect_volume(state, name)).collect()
}

/// What is known of a volume.
///
/// # Errors
/// `Usage` where there is none of this name.
pub fn inspect_volume(state: &StateDir, name: &DiskId) -> Result<Volume, RunError> {
    let place = place(state, name);
    let failed = |e| RunError::state(format!("cannot read {}", place.display()), e);
    let text = match fs::read(place.join(RECORD)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(unknown(name)),
        text => text.map_err(failed)?,
    };
    let record: Record = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
    let Record { version, name, size_mib, created_at } = record;
    if version != VERSION {
        let wrong = format!("its version is {version}, this program knows {VERSION}");
        return Err(failed(io::Error::other(wrong)));
    }
    let path = place.join(DISK);
    let used_bytes = path.metadata().map_err(failed)?.blocks() * 512;
    let in_use = is_used(&place.join(LOCK)).and_then(|held| Ok(held || is_used(&path)?));
    let in_use = in_use.map_err(failed)?;
    Ok(Volume { name, size_mib, used_bytes, created_at, path, in_use })
}

/// Removes a volume with all that is in it.
///
/// # Errors
/// `Usage` where there is none of this name, `Conflict` where a machine uses it.
pub fn remove_volume(state: &StateDir, name: &DiskId) -> Result<(), RunError> {
    let _all = swept(state)?;
    let held = hold(state, name)?;
    let (place, gone) = (place(state, name), aside(state, "gone", name));
    let failed = |e| RunError::state(format!("cannot remove {}", place.display()), e);
    if is_used(&held.disk).map_err(failed)? {
        return Err(in_use(name));
    }
    fs::rename(&place, &gone).map_err(failed)?;
    sync(&state.volumes())?;
    drop(held);
    fs::remove_dir_all(&gone).map_err(failed)
}

/// A volume that is this process's alone for as long as this is there.
#[derive(Debug)]
pub(crate) struct HeldVolume {
    pub(crate) disk: PathBuf,
    _lock: File,
}

/// Takes a volume. The hypervisor locks its disk as well: should this process be killed, it
/// stands for the machine until that has ended too.
pub(crate) fn hold(state: &StateDir, name: &DiskId) -> Result<HeldVolume, RunError> {
    let place = place(state, name);
    let failed = |e| RunError::state(format!("cannot lock {}", place.display()), e);
    let path = place.join(LOCK);
    let lock = match File::options().read(true).write(true).open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(unknown(name)),
        lock => lock.map_err(failed)?,
    };
    if !lock_alone(&lock).map_err(failed)? {
        return Err(in_use(name));
    }
    // It may have been removed, and made anew, since it was opened.
    let there = path.metadata().is_ok_and(|there| {
        lock.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
    });
    if !there {
        return Err(unknown(name));
    }
    Ok(HeldVolume { disk: place.join(DISK), _lock: lock })
}

/// Whether anybody has locked a file of a volume.
fn is_used(path: &Path) -> io::Result<bool> {
    image_in_use(&File::open(path)?, Access::ReadWrite)
}

fn in_use(name: &DiskId) -> RunError {
    RunError::InUse(format!("volume '{name}'"))
}

fn unknown(name: &DiskId) -> RunError {
    RunError::Usage {
        message: format!("there is no volume '{name}'"),
        hint: Some(format!("microagent volume create {name}")),
    }
}

fn place(state: &StateDir, name: &DiskId) -> PathBuf {
    state.volumes().join(name.as_str())
}

/// A name that no volume can have.
fn aside(state: &StateDir, why: &str, name: &DiskId) -> PathBuf {
    state.volumes().join(format!(".{why}-{name}-{}", std::process::id()))
}

/// Keeps others from making and removing volumes, and removes what killed ones left.
fn swept(state: &StateDir) -> Result<File, RunError> {
    let directory = state.volumes();
    let failed = |e| RunError::state(format!("cannot lock {}", directory.display()), e);
    let lock = File::open(&directory).map_err(failed)?;
    lock.lock().map_err(failed)?;
    for entry in fs::read_dir(&directory).map_err(failed)?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b".")
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "cannot remove it");
        }
    }
    Ok(lock)
}

fn sync(directory: &Path) -> Result<(), RunError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|e| RunError::state(format!("cannot sync {}", directory.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("s")).unwrap();
        (dir, state)
    }

    fn id(name: &str) -> DiskId {
        DiskId::new(name).unwrap()
    }

    #[test]
    fn a_volume_is_made_listed_held_and_removed() {
        let (_dir, state) = state();
        let made = create_volume(&state, &id("data"), MiB(128)).unwrap();
        assert_eq!((made.size_mib, made.in_use), (MiB(128), false));
        assert!(made.used_bytes < 8 << 20, "{} bytes", made.used_bytes);
        let again = create_volume(&state, &id("data"), MiB(128)).unwrap_err();
        assert_eq!(again.to_string(), "volume 'data' exists already");
        let held = hold(&state, &id("data")).unwrap();
        assert!(volumes(&state).unwrap()[0].in_use);
        for refused in [hold(&state, &id("data")).map(drop), remove_volume(&state, &id("data"))] {
            assert_eq!(refused.unwrap_err().to_string(), "volume 'data' is in use");
        }
        drop(held);
        remove_volume(&state, &id("data")).unwrap();
        assert!(volumes(&state).unwrap().is_empty());
        let unknown = remove_volume(&state, &id("data")).unwrap_err();
        assert_eq!(unknown.to_string(), "there is no volume 'data'");
    }

    #[test]
    fn a_machine_that_outlives_whoever_made_it_keeps_its_volume() {
        let (_dir, state) = state();
        let made = create_volume(&state, &id("data"), MiB(128)).unwrap();
        let machine = microagent_backend::claim_for_reading(&made.path).unwrap();
        assert!(inspect_volume(&state, &id("data")).unwrap().in_use);
        let refused = remove_volume(&state, &id("data")).unwrap_err();
        assert_eq!(refused.to_string(), "volume 'data' is in use");
        drop(machine);
        remove_volume(&state, &id("data")).unwrap();
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let (_dir, state) = state();
        create_volume(&state, &id("data"), MiB(128)).unwrap();
        let record = place(&state, &id("data")).join(RECORD);
        let text = fs::read_to_string(&record).unwrap();
        assert!(text.contains("\"version\": 1") || text.contains("\"version\":1"), "{text}");
        let newer = text.replacen("1", "2", 1);
        fs::write(&record, newer).unwrap();
        let refused = crate::error::chain(&inspect_volume(&state, &id("data")).unwrap_err());
        assert!(refused.contains("its version is 2, this program knows 1"), "{refused}");
    }

    #[test]
    fn what_was_begun_is_not_there_and_is_removed() {
        let (_dir, state) = state();
        let left = [".new-data-1", ".gone-data-2"].map(|name| state.volumes().join(name));
        for path in &left {
            fs::create_dir(path).unwrap();
            fs::write(path.join(RECORD), "{}").unwrap();
        }
        assert!(volumes(&state).unwrap().is_empty());
        create_volume(&state, &id("data"), MiB(128)).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        assert_eq!(volumes(&state).unwrap().len(), 1);
        assert!(create_volume(&state, &id("small"), MiB(1)).is_err());
        assert!(create_volume(&state, &id("oci"), MiB(128)).is_err());
        assert_eq!(fs::read_dir(state.volumes()).unwrap().count(), 1);
    }
}
