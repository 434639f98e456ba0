//! The index file: which references lead to which manifests.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Store, lock, read_file};
use crate::{Digest, ImageError, Platform, Result, limits};

/// The version that is written; older ones will be read too once there are any.
const VERSION: u64 = 1;

/// An image that the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The normalised reference, or the source of a local image with its absolute path.
    pub reference: String,
    /// The platform that was chosen.
    pub platform: Platform,
    /// The digest of that platform's manifest.
    pub digest: Digest,
    /// The digest of the index that the manifest was chosen from, if there was one.
    pub index_digest: Option<Digest>,
    /// Bytes of configuration and layers as they are stored; layers may be shared.
    pub size: u64,
    /// When it was last resolved, to the day.
    pub last_used: SystemTime,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexFile {
    version: u64,
    images: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    reference: String,
    platform: Platform,
    manifest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Digest>,
    size: u64,
    /// Seconds since 1970.
    last_used: u64,
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Store {
    /// All images that the store knows, by reference and platform.
    ///
    /// # Errors
    /// The index cannot be read, is malformed or was written by a newer version.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let entries = self.read_index()?.images.into_iter().map(ImageRecord::from);
        let mut records: Vec<_> = entries.collect();
        records.sort_by(|a, b| (&a.reference, &a.platform).cmp(&(&b.reference, &b.platform)));
        Ok(records)
    }

    /// The record of `reference`, or of an image that has the digest it is pinned to.
    pub(crate) fn find(
        &self,
        reference: &str,
        pinned: Option<&Digest>,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>> {
        let fits = |entry: &Entry| {
            let content = pinned.is_some_and(|digest| {
                entry.manifest == *digest || entry.index.as_ref() == Some(digest)
            });
            entry.platform == *platform && (entry.reference == reference || content)
        };
        Ok(self.read_index()?.images.into_iter().find(fits).map(ImageRecord::from))
    }

    /// Adds `record`, in place of one with the same reference and platform.
    pub(crate) async fn record(&self, record: ImageRecord) -> Result<()> {
        self.rewrite(|images| {
            images.retain(|entry| {
                (&entry.reference, &entry.platform) != (&record.reference, &record.platform)
            });
            images.push(Entry::from(record));
        })
        .await
    }

    /// Takes out the records that are not to be kept and gives them back.
    pub(super) async fn forget(
        &self,
        keep: impl Fn(&ImageRecord) -> bool,
    ) -> Result<Vec<ImageRecord>> {
        let mut gone = Vec::new();
        self.rewrite(|images| {
            for entry in std::mem::take(images) {
                let record = ImageRecord::from(entry);
                match keep(&record) {
                    true => images.push(Entry::from(record)),
                    false => gone.push(record),
                }
            }
        })
        .await?;
        Ok(gone)
    }

    async fn rewrite(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<()> {
        let _lock = lock::exclusive(&self.root.join("references.lock"), limits::LOCK).await?;
        let mut index = self.read_index()?;
        change(&mut index.images);
        self.write_index(&index)
    }

    fn read_index(&self) -> Result<IndexFile> {
        let path = self.index_path();
        let what = format!("image index '{}'", path.display());
        let Some(json) = read_file(&path, &what, limits::STORE_INDEX_BYTES)? else {
            return Ok(IndexFile { version: VERSION, images: Vec::new() });
        };
        let malformed = |error: serde_json::Error| {
            ImageError::malformed(&what, format!("{error}; remove the file to start anew"))
        };
        // The version first: a newer file may well have fields that are unknown here.
        let Versioned { version } = serde_json::from_slice(&json).map_err(malformed)?;
        if version > VERSION {
            return Err(ImageError::NewerStore { path, found: version, newest: VERSION });
        }
        serde_json::from_slice(&json).map_err(malformed)
    }

    /// The caller holds the index's lock.
    fn write_index(&self, index: &IndexFile) -> Result<()> {
        let path = self.index_path();
        // Under the lock one name is enough, and what a crash leaves is overwritten.
        let temporary = self.root.join(".references.json.new");
        let json = serde_json::to_vec_pretty(index)
            .map_err(|error| ImageError::malformed("the image index", error))?;
        let write = || {
            let options = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary);
            let mut file = options?;
            file.write_all(&json)?;
            file.sync_data()?;
            // The names of the blobs must not be lost while the index that lists them is kept.
            File::open(self.blob_dir())?.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|error: std::io::Error| ImageError::io("write", &path, error))
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("references.json")
    }
}

impl ImageRecord {
    /// Whether the time of last use is old enough to be written again.
    pub(crate) fn is_stale(&self) -> bool {
        self.last_used.elapsed().is_ok_and(|age| age > limits::LAST_USED_GRAIN)
    }
}

impl From<Entry> for ImageRecord {
    fn from(entry: Entry) -> Self {
        let Entry { reference, platform, manifest, index, size, last_used } = entry;
        let since = UNIX_EPOCH.checked_add(Duration::from_secs(last_used));
        let last_used = since.unwrap_or(UNIX_EPOCH);
        Self { reference, platform, digest: manifest, index_digest: index, size, last_used }
    }
}

impl From<ImageRecord> for Entry {
    fn from(record: ImageRecord) -> Self {
        let ImageRecord { reference, platform, digest, index_digest, size, last_used } = record;
        let last_used = last_used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { reference, platform, manifest: digest, index: index_digest, size, last_used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn record(reference: &str) -> ImageRecord {
        ImageRecord {
            reference: reference.to_owned(),
            platform: Platform::host(),
            digest: Digest::of(reference.as_bytes()),
            index_digest: None,
            size: 1,
            last_used: UNIX_EPOCH + Duration::from_secs(7),
        }
    }

    #[tokio::test]
    async fn records_are_kept_replaced_and_found_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.list().unwrap(), []);
        store.record(record("b")).await.unwrap();
        store.record(record("a")).await.unwrap();
        let changed = ImageRecord { size: 2, index_digest: Some(Digest::of(b"i")), ..record("b") };
        store.record(changed.clone()).await.unwrap();
        assert_eq!(store.list().unwrap(), [record("a"), changed.clone()]);
        let host = Platform::host();
        assert_eq!(store.find("b", None, &host).unwrap(), Some(changed.clone()));
        assert_eq!(store.find("x", Some(&Digest::of(b"i")), &host).unwrap(), Some(changed));
        assert_eq!(store.find("x", None, &host).unwrap(), None);
        assert_eq!(store.find("a", None, &"linux/other".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn files_that_are_not_understood_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let check = |json: &str, kind: ErrorKind, text: &str| {
            std::fs::write(store.index_path(), json).unwrap();
            let error = store.list().expect_err(json);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        };
        check(r#"{"version":2,"colour":1}"#, ErrorKind::Unsupported, "version 2");
        check(r#"{"version":1,"images":[],"x":1}"#, ErrorKind::Corrupt, "unknown field");
        check(r#"{"version":1}"#, ErrorKind::Corrupt, "images");
        check("", ErrorKind::Corrupt, "references.json");
    }
}
