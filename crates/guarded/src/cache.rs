//! Remembering what takes longer to find out than starting a machine.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use microagent_backend::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_CACHED, MAX_RECORD_LEN};

/// Version of the file; any other is as good as none.
const VERSION: u32 = 2;

/// What is known by key, in memory and perhaps in a file. What cannot be read or kept is
/// found out again.
#[derive(Debug)]
pub struct Cache<K, V> {
    file: Option<PathBuf>,
    known: Mutex<Vec<Entry<K, V>>>,
}

impl<K, V> Cache<K, V>
where
    K: Clone + PartialEq + Serialize + DeserializeOwned,
    V: Clone + Serialize + DeserializeOwned,
{
    /// A cache that is kept as `name` in `dir`, a directory that exists.
    pub fn new(dir: Option<&Path>, name: &str) -> Self {
        Self { file: dir.map(|dir| dir.join(name)), known: Mutex::new(Vec::new()) }
    }

    /// What is known by `key`.
    pub fn recall(&self, key: &K) -> Option<V> {
        let find = |entries: &[Entry<K, V>]| {
            entries.iter().find(|e| e.key == *key).map(|e| e.value.clone())
        };
        let mut known = self.known.lock().ok()?;
        if let Some(value) = find(&known) {
            return Some(value);
        }
        *known = self.file.as_deref().map(read).unwrap_or_default();
        find(&known)
    }

    /// Keeps what was found out, in place of what is known by any key that it `replaces`.
    pub fn keep(&self, key: K, value: V, replaces: impl Fn(&K) -> bool) {
        let Ok(mut known) = self.known.lock() else { return };
        known.retain(|e| e.key != key && !replaces(&e.key));
        known.insert(0, Entry { key, value });
        known.truncate(MAX_CACHED);
        if let Some(file) = &self.file
            && let Err(error) = write(file, &*known)
        {
            tracing::debug!(%error, file = %file.display(), "cannot remember what was found out");
        }
    }
}

/// A file as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Its path.
    pub path: PathBuf,
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at it.
    ///
    /// # Errors
    /// `Io` if it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self> {
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
struct Entry<K, V> {
    key: K,
    value: V,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<T> {
    version: u32,
    known: T,
}

/// What is remembered; nothing where there is nothing, or nothing that can be read.
fn read<T: DeserializeOwned + Default>(file: &Path) -> T {
    let mut text = Vec::new();
    let read = fs::File::open(file).and_then(|f| f.take(MAX_RECORD_LEN).read_to_end(&mut text));
    match read.ok().and_then(|_| serde_json::from_slice(&text).ok()) {
        Some(Contents { version: VERSION, known }) => known,
        _ => T::default(),
    }
}

fn write(file: &Path, known: impl Serialize) -> std::io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let text = serde_json::to_vec(&Contents { version: VERSION, known })?;
    let mut options = fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    let written = opened.write_all(&text).and_then(|()| fs::rename(&draft, file));
    if written.is_err() {
        let _ = fs::remove_file(draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    type Words = Cache<(u32, u32), String>;

    #[test]
    fn what_is_kept_is_known_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Words::new(Some(dir.path()), "words.json");
        let first = open();
        assert_eq!(first.recall(&(1, 1)), None);
        first.keep((1, 1), "one".into(), |_| false);
        first.keep((2, 1), "two".into(), |_| false);
        first.keep((1, 2), "one again".into(), |(word, _)| *word == 1);
        for cache in [first, open()] {
            assert_eq!(cache.recall(&(1, 1)), None);
            assert_eq!(cache.recall(&(1, 2)).as_deref(), Some("one again"));
            assert_eq!(cache.recall(&(2, 1)).as_deref(), Some("two"));
        }
        assert_eq!(Words::new(None, "words.json").recall(&(2, 1)), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nonsense_in_the_file_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("words.json");
        let long = " ".repeat(MAX_RECORD_LEN as usize) + r#"{"version":2,"known":[]}"#;
        for text in ["", "{}", r#"{"version":9,"known":[]}"#, &long] {
            fs::write(&file, text).unwrap();
            let cache = Words::new(Some(dir.path()), "words.json");
            assert_eq!(cache.recall(&(1, 1)), None);
            cache.keep((1, 1), "one".into(), |_| false);
            let known: Vec<Entry<(u32, u32), String>> = read(&file);
            assert_eq!(known.len(), 1);
        }
    }
}
