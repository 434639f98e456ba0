//! Removing what is no longer wanted.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;

use super::{ImageRecord, Store, lock};
use crate::document::Document;
use crate::{Digest, ImageError, Result, Source, limits};

/// What [`Store::prune`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Blobs that no recorded image uses, and records whose manifest is gone.
    Unreferenced,
    /// Everything.
    All,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Images that are no longer listed.
    pub images: usize,
    /// Blobs, unfinished ones included.
    pub removed: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
}

impl Store {
    /// Forgets `source` for all platforms, and removes its blobs unless other images use
    /// them or somebody uses the store; then the next prune does.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if the store does not know it.
    pub async fn remove(&self, source: &Source) -> Result<Report> {
        let reference = source.canonical();
        let gone = self.forget(|record| record.reference != reference).await?;
        if gone.is_empty() {
            return Err(ImageError::NotFound {
                reference,
                reason: "it is not in the cache".to_owned(),
            });
        }
        let mut report = match lock::exclusive_now(&self.root.join("lock"))? {
            Some(_lock) => self.sweep(&self.used()?)?,
            None => Report::default(),
        };
        report.images = gone.len();
        Ok(report)
    }

    /// Removes blobs when nobody uses the store. A process that holds an
    /// [`Image`](crate::Image) of this store must not wait for this.
    ///
    /// # Errors
    /// [`ImageError::Timeout`] if other commands go on using the store.
    pub async fn prune(&self, scope: PruneScope) -> Result<Report> {
        let _lock = lock::exclusive(&self.root.join("lock"), limits::PRUNE_LOCK).await?;
        let keep = |record: &ImageRecord| match scope {
            PruneScope::All => false,
            PruneScope::Unreferenced => self.blobs_of(&record.digest).is_ok(),
        };
        let gone = self.forget(keep).await?;
        let mut report = self.sweep(&self.used()?)?;
        report.images = gone.len();
        Ok(report)
    }

    fn used(&self) -> Result<HashSet<Digest>> {
        let mut used = HashSet::new();
        for record in self.list()? {
            // Of a manifest that cannot be read nothing can be used either.
            used.extend(self.blobs_of(&record.digest).unwrap_or_default());
        }
        Ok(used)
    }

    fn blobs_of(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let what = format!("manifest {manifest}");
        let json = self.read(&what, manifest, limits::MANIFEST_BYTES)?;
        match Document::from_json(&what, &json)? {
            Document::Manifest(parsed) => {
                let layers = parsed.layers.into_iter().map(|layer| layer.blob.digest);
                Ok(layers.chain([parsed.config.digest, manifest.clone()]).collect())
            }
            Document::Index(_) => Err(ImageError::malformed(what, "it is an index")),
        }
    }

    /// Removes every blob that is not `used`. The caller holds the store alone.
    fn sweep(&self, used: &HashSet<Digest>) -> Result<Report> {
        let dir = self.blob_dir();
        let failed = |path: &Path, error| ImageError::io("clean up", path, error);
        let mut report = Report::default();
        for entry in std::fs::read_dir(&dir).map_err(|error| failed(&dir, error))? {
            let entry = entry.map_err(|error| failed(&dir, error))?;
            if !is_ours(&entry.file_name()) || is_used(&entry.file_name(), used) {
                continue;
            }
            let size = entry.metadata().map_err(|error| failed(&entry.path(), error))?.len();
            std::fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
            report.removed += 1;
            report.bytes = report.bytes.saturating_add(size);
        }
        Ok(report)
    }
}

/// Whether a file in the directory of blobs was written by a store.
fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    name.starts_with(super::blob::UNFINISHED) || digest_of(name).is_some()
}

fn is_used(name: &OsStr, used: &HashSet<Digest>) -> bool {
    name.to_str().and_then(digest_of).is_some_and(|digest| used.contains(&digest))
}

fn digest_of(name: &str) -> Option<Digest> {
    format!("sha256:{name}").parse().ok()
}
