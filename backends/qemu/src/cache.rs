//! Remembering what a QEMU can do, since asking it takes longer than starting a machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use microagent_backend::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::identify::{Identity, interrogate};
use crate::limits::{MAX_CACHED, MAX_RECORD_LEN};

/// File name of the cache in its directory.
const FILE: &str = "qemu.json";
/// Version of the file; any other is as good as none.
const VERSION: u32 = 1;

/// What is known of the QEMUs of this host, in memory and perhaps in a file.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: Option<PathBuf>,
    known: Mutex<Vec<Entry>>,
}

impl Cache {
    /// A cache that is kept in `dir`.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, known: Mutex::new(Vec::new()) }
    }

    /// What the QEMU at `program` is and has, asked only where it is not known.
    pub(crate) async fn identity(&self, program: &Path) -> Result<Identity> {
        let stamp = Stamp::of(program)?;
        if let Some(known) = self.recall(&stamp) {
            return Ok(known);
        }
        let identity = interrogate(program).await?.ok_or_else(|| {
            let what = format!("{} is no QEMU: its --version says otherwise", program.display());
            Error::new(ErrorKind::Unavailable, what)
                .with_hint("give the path of a qemu-system-x86_64")
        })?;
        self.keep(Entry { stamp, identity: identity.clone() });
        Ok(identity)
    }

    fn recall(&self, stamp: &Stamp) -> Option<Identity> {
        let find = |entries: &[Entry]| {
            entries.iter().find(|e| e.stamp == *stamp).map(|e| e.identity.clone())
        };
        let mut known = self.known.lock().ok()?;
        if let Some(identity) = find(&known) {
            return Some(identity);
        }
        *known = self.dir.as_deref().map(read).unwrap_or_default();
        find(&known)
    }

    fn keep(&self, entry: Entry) {
        let Ok(mut known) = self.known.lock() else { return };
        known.retain(|e| e.stamp.path != entry.stamp.path);
        known.insert(0, entry);
        known.truncate(MAX_CACHED);
        if let Some(dir) = &self.dir
            && let Err(error) = write(dir, &known)
        {
            // It is asked again next time.
            tracing::debug!(%error, dir = %dir.display(), "cannot remember a QEMU");
        }
    }
}

/// A file as it was when it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let meta =
            fs::metadata(path).map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
        Ok(Self {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    stamp: Stamp,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<T> {
    version: u32,
    known: T,
}

/// What is remembered; nothing where there is nothing, or nothing that can be read.
fn read(dir: &Path) -> Vec<Entry> {
    let path = dir.join(FILE);
    if path.metadata().map_or(true, |meta| meta.len() > MAX_RECORD_LEN) {
        return Vec::new();
    }
    let text = fs::read(path).unwrap_or_default();
    match serde_json::from_slice(&text) {
        Ok(Contents { version: VERSION, known }) => known,
        _ => Vec::new(),
    }
}

fn write(dir: &Path, known: &[Entry]) -> std::io::Result<()> {
    let draft = dir.join(format!("{FILE}.{}", std::process::id()));
    let text = serde_json::to_vec(&Contents { version: VERSION, known })?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    let written = file.write_all(&text).and_then(|()| fs::rename(&draft, dir.join(FILE)));
    if written.is_err() {
        let _ = fs::remove_file(draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that says it is QEMU and counts how often it was asked.
    fn impostor(dir: &Path, version: &str) -> PathBuf {
        let path = dir.join("qemu");
        let script = format!(
            "#!/bin/sh\necho >> {}\necho 'QEMU emulator version {version}'\n",
            dir.join("asked").display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_program_is_asked_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let asked = || fs::metadata(dir.path().join("asked")).unwrap().len();
        let program = impostor(dir.path(), "8.0.0");
        let kept = Some(dir.path().to_owned());
        let first = Cache::new(kept.clone());
        assert_eq!(first.identity(&program).await.unwrap().version.major, 8);
        let once = asked();
        assert!(once > 0);
        first.identity(&program).await.unwrap();
        Cache::new(kept.clone()).identity(&program).await.unwrap();
        assert_eq!(asked(), once, "asked again");

        impostor(dir.path(), "9.0.10");
        let second = Cache::new(kept).identity(&program).await.unwrap();
        assert_eq!(second.version.major, 9);
        assert!(asked() > once);
    }

    #[tokio::test]
    async fn nonsense_in_the_file_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let program = impostor(dir.path(), "8.0.0");
        fs::write(dir.path().join(FILE), "{\"version\":9}").unwrap();
        let cache = Cache::new(Some(dir.path().to_owned()));
        cache.identity(&program).await.unwrap();
        assert_eq!(read(dir.path()).len(), 1);
    }
}
