//! Content in a local file: all of it, or a part of an archive.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::Digest as _;

use crate::document::Blob;
use crate::error::within;
use crate::store::BlobWriter;
use crate::{Digest, ImageError, Progress, Result};

/// Bytes that are read before other tasks may go on.
const CHUNK: usize = 1 << 20;

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Section {
    /// All of it, if it is at most `limit` bytes long.
    pub(crate) fn read(&self, what: &str, limit: u64) -> Result<Vec<u8>> {
        within(&format!("the size of {what}"), self.len, limit)?;
        let mut bytes = vec![0; self.len as usize];
        let read = self.file.read_exact_at(&mut bytes, self.offset);
        read.map_err(|error| ImageError::io("read", &self.path, error))?;
        Ok(bytes)
    }

    /// The first bytes, at most `count` of them.
    pub(crate) fn first(&self, count: usize) -> Result<Vec<u8>> {
        let len = self.len.min(count as u64);
        Self { len, ..self.clone() }.read("the beginning of a layer", count as u64)
    }

    /// Writes it to `out`.
    pub(crate) async fn copy(
        &self,
        blob: &Blob,
        out: &mut BlobWriter,
        progress: Option<&dyn Progress>,
    ) -> Result<()> {
        self.each_chunk(|chunk| {
            out.write(chunk)?;
            if let Some(progress) = progress {
                progress.layer(blob.digest.as_str(), out.written(), Some(blob.size));
            }
            Ok(())
        })
        .await
    }

    /// The digest of its content.
    pub(crate) async fn digest(&self) -> Result<Digest> {
        let mut hash = sha2::Sha256::new();
        self.each_chunk(|chunk| {
            hash.update(chunk);
            Ok(())
        })
        .await?;
        Ok(Digest::from_hash(hash.finalize().as_slice()))
    }

    /// Goes through the content; may be dropped between two chunks.
    async fn each_chunk(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; CHUNK.min(self.len as usize)];
        let (mut at, end) = (self.offset, self.offset.saturating_add(self.len));
        while at < end {
            let want = buffer.len().min((end - at) as usize);
            let Some(chunk) = buffer.get_mut(..want) else { break };
            let read = self.file.read_exact_at(chunk, at);
            read.map_err(|error| ImageError::io("read", &self.path, error))?;
            take(chunk)?;
            at += want as u64;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
