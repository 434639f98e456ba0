//! A resolved image.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Compression, Digest, Hold, ImageConfig};

/// An image whose blobs are in the store.
///
/// As long as it lives, [`Store::prune`](crate::Store::prune) leaves its blobs alone.
#[derive(Debug, Clone)]
pub struct Image {
    /// The normalised reference that it was asked for by; the absolute path of a local one.
    pub reference: String,
    /// The digest of the manifest of the platform that was chosen.
    pub digest: Digest,
    /// The digest of the configuration: what Docker calls the image's id.
    pub config_digest: Digest,
    /// What the image says about its process.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Whether nothing had to be fetched or copied.
    pub from_cache: bool,
    pub(crate) hold: Arc<Hold>,
}

impl Image {
    /// What keeps the blobs in the store, for those who need them longer than the image.
    pub fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the file at `path`, verified when it entered the store.
    pub digest: Digest,
    /// The digest of the uncompressed tar, to be verified by whoever decompresses it.
    pub diff_id: Digest,
    /// How the tar is packed: the manifest and the content agree on it.
    pub compression: Compression,
    /// The length of the file at `path` in bytes.
    pub size: u64,
    /// The blob; never written to.
    pub path: PathBuf,
}
