//! Remembering what reading all of a file showed that has not changed since.
//!
//! Reading 20 MB costs a run tens of milliseconds. A stamp binds the facts to what the kernel
//! of the host says of the file (device, inode, length, both times); where any of it differs
//! the file is read again. A stamp is only a shortcut: it is never read from a place that
//! others can write, and what goes wrong with it costs time, nothing else.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::facts::Facts;
use crate::install::replace;

/// A stamp of ours is about 200 bytes.
const MAX_STAMP: u64 = 4096;

/// More stamps than this are not kept: each belongs to one kernel file on this host.
const MAX_STAMPS: usize = 64;

/// A file that changed less than this before it was read gets no stamp: a second change
/// within the granularity of the file system's clock would not be seen.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    identity: Identity,
    facts: Facts,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// The facts of `file`, from its stamp in `stamps` if it has a good one.
pub(crate) fn facts(file: &mut File, stamps: &Path) -> io::Result<Facts> {
    let metadata = file.metadata()?;
    let identity = Identity::of(&metadata);
    let path = stamps.join(format!("{:x}-{:x}.json", identity.dev, identity.ino));
    if let Some(stamp) = read(&path).filter(|stamp| stamp.identity == identity) {
        return Ok(stamp.facts);
    }
    let facts = Facts::of(file)?;
    // It may have been written to while it was read.
    if Identity::of(&file.metadata()?) == identity && settled(&metadata) {
        write(&path, stamps, &Stamp { identity, facts: facts.clone() });
    }
    Ok(facts)
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Identity {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn settled(metadata: &Metadata) -> bool {
    let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    SystemTime::now().duration_since(changed).is_ok_and(|age| age >= SETTLED)
}

fn read(path: &PathBuf) -> Option<Stamp> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_STAMP).read_to_end(&mut text).ok()?;
    let stamp: Stamp = serde_json::from_slice(&text).ok()?;
    digest::is_sum(&stamp.facts.sha256).then_some(stamp)
}

fn write(path: &Path, stamps: &Path, stamp: &Stamp) {
    // Its parent is not made: who only looks, leaves nothing.
    let made = match fs::DirBuilder::new().mode(0o700).create(stamps) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    let written = made
        .and_then(|()| make_room(stamps))
        .and_then(|()| serde_json::to_vec(stamp).map_err(io::Error::from))
        .and_then(|text| replace(path, |file| io::Write::write_all(file, &text)));
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "kernel stamp not kept");
    }
}

fn make_room(stamps: &Path) -> io::Result<()> {
    let entries = fs::read_dir(stamps)?.collect::<io::Result<Vec<_>>>()?;
    if entries.len() < MAX_STAMPS {
        return Ok(());
    }
    entries.iter().try_for_each(|entry| fs::remove_file(entry.path()))
}

#[cfg(test)]
mod tests;
