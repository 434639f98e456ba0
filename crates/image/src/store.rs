//! The directory that holds verified blobs and the index over them.
//!
//! ```text
//! <dir>/oci/blobs/sha256/<hex>   blobs by digest, never changed once they are there
//!           references.json      reference and platform -> manifest
//!           lock                 shared: the store is in use; exclusive: blobs are removed
//!           references.lock      exclusive: the index is rewritten
//!           locks/<2 hex>        exclusive: a blob whose digest starts so is fetched
//! ```
//! The lock files stay: whoever removes one that another waits for breaks the lock.

mod blob;
mod index;
mod lock;
mod prune;

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use blob::BlobWriter;
pub use index::ImageRecord;
pub use lock::Hold;
pub use prune::{PruneScope, Report};

use crate::document::Blob;
use crate::error::within;
use crate::{Digest, ImageError, Result, limits};

/// A store of images, shared by all processes that open the same directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none: directories 0700.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Self { root: dir.join("oci") };
        for dir in [store.blob_dir(), store.lock_dir()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|error| ImageError::io("make the directory", &dir, error))?;
        }
        Ok(store)
    }

    /// Keeps all blobs in the store until the result is dropped. Shared: any number of
    /// processes may hold it at once, only [`Store::prune`] may not run.
    ///
    /// # Errors
    /// The lock cannot be had in time.
    pub async fn hold(&self) -> Result<Arc<Hold>> {
        let file = lock::shared(&self.root.join("lock"), limits::LOCK).await?;
        Ok(Arc::new(Hold::new(file)))
    }

    /// Forgets the blob `digest`, because it turned out not to be what it should be; the
    /// next resolution fetches it again.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        let path = self.blob_path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ImageError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn blob_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn lock_dir(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir().join(digest.hex())
    }

    /// Whether the blob is there with its announced size. Its digest was verified when it
    /// came.
    pub(crate) fn has(&self, blob: &Blob) -> bool {
        std::fs::metadata(self.blob_path(&blob.digest))
            .is_ok_and(|meta| meta.is_file() && meta.len() == blob.size)
    }

    /// Takes the lock under which a blob is fetched, so that processes that want the same
    /// one wait for each other instead of fetching it twice.
    pub(crate) async fn lock_blob(&self, digest: &Digest) -> Result<File> {
        let shard = digest.hex().get(..2).unwrap_or_default();
        lock::exclusive(&self.lock_dir().join(shard), limits::LOCK).await
    }

    /// Begins a blob; see [`BlobWriter`].
    pub(crate) fn write_blob(&self, blob: &Blob) -> Result<BlobWriter> {
        BlobWriter::new(&self.blob_dir(), blob)
    }

    /// Puts a blob that is in memory into the store.
    pub(crate) async fn put(&self, digest: &Digest, content: &[u8]) -> Result<()> {
        let blob = Blob { digest: digest.clone(), size: content.len() as u64 };
        let _lock = self.lock_blob(digest).await?;
        if self.has(&blob) {
            return Ok(());
        }
        let mut writer = self.write_blob(&blob)?;
        writer.write(content)?;
        writer.publish().await
    }

    /// Reads a small blob, at most `limit` bytes, and verifies it once more.
    pub(crate) fn read(&self, what: &str, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = read_file(&path, what, limit)?.ok_or_else(|| ImageError::MissingBlob {
            what: what.to_owned(),
            origin: self.root.display().to_string(),
        })?;
        let actual = Digest::of(&bytes);
        if actual == *digest {
            return Ok(bytes);
        }
        Err(ImageError::DigestMismatch { what: what.to_owned(), expected: digest.clone(), actual })
    }
}

/// The content of the file at `path`, at most `limit` bytes; `None` if there is none.
pub(crate) fn read_file(path: &Path, what: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let failed = |error| ImageError::io("read", path, error);
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    within(&format!("the size of {what}"), bytes.len() as u64, limit)?;
    Ok(Some(bytes))
}

/// Opens a file for reading and never waits for the other end of a pipe.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(nonblock as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is not a regular file")),
    }
}
