//! A blob on its way into the store.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::document::Blob;
use crate::{Digest, ImageError, Result};

/// Writes and hashes a blob, which gets its name in the store when all of it has come and
/// is what its digest says.
///
/// Until then the file has no name where the file system allows that, so nothing is left of
/// a process that is killed. The caller holds the blob's lock.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    file: File,
    place: Place,
    target: PathBuf,
    blob: Blob,
    hash: sha2::Sha256,
    written: u64,
}

#[derive(Debug)]
enum Place {
    Nameless,
    Named(PathBuf),
}

/// How the names of unfinished blobs begin; `prune` removes what a crash left.
pub(super) const UNFINISHED: &str = ".unfinished-";

impl BlobWriter {
    pub(super) fn new(dir: &Path, blob: &Blob) -> Result<Self> {
        let (file, place) = match nameless(dir) {
            Ok(file) => (file, Place::Nameless),
            // What file systems and kernels without it answer.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let path = unfinished(dir, &blob.digest);
                (named(&path)?, Place::Named(path))
            }
            Err(error) => return Err(ImageError::io("write to", dir, error.into())),
        };
        Ok(Self::with(file, place, dir, blob))
    }

    fn with(file: File, place: Place, dir: &Path, blob: &Blob) -> Self {
        let target = dir.join(blob.digest.hex());
        Self { file, place, target, blob: blob.clone(), hash: sha2::Sha256::new(), written: 0 }
    }

    /// Adds `bytes`.
    ///
    /// # Errors
    /// They are more than was announced, or cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let total = self.written.saturating_add(bytes.len() as u64);
        if total > self.blob.size {
            return Err(self.wrong_size(total));
        }
        let written = self.file.write_all(bytes);
        written.map_err(|error| ImageError::io("write to", &self.target, error))?;
        self.hash.update(bytes);
        self.written = total;
        Ok(())
    }

    /// The bytes so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Verifies size and digest, brings the content to the disk and gives it its name.
    pub(crate) async fn publish(mut self) -> Result<()> {
        if self.written != self.blob.size {
            return Err(self.wrong_size(self.written));
        }
        let actual = Digest::from_hash(self.hash.finalize_reset().as_slice());
        if actual != self.blob.digest {
            let expected = self.blob.digest.clone();
            return Err(ImageError::DigestMismatch { what: "a blob".to_owned(), expected, actual });
        }
        // Other downloads go on meanwhile.
        let synced = tokio::task::spawn_blocking(move || {
            let result = self.file.sync_data();
            (self, result)
        });
        let (mut writer, result) = synced
            .await
            .map_err(|error| ImageError::io("sync", "a blob".as_ref(), error.into()))?;
        result.map_err(|error| ImageError::io("sync", &writer.target, error))?;
        writer.name().map_err(|error| ImageError::io("name", &writer.target, error))
    }

    fn name(&mut self) -> std::io::Result<()> {
        if let Place::Nameless = self.place {
            if self.link(&self.target)? {
                return Ok(());
            }
            // A damaged blob has the name: what is verified takes its place.
            let dir = self.target.parent().unwrap_or(Path::new("."));
            let path = unfinished(dir, &self.blob.digest);
            if !self.link(&path)? {
                std::fs::remove_file(&path)?;
                self.link(&path)?;
            }
            self.place = Place::Named(path);
        }
        if let Place::Named(path) = &self.place {
            std::fs::rename(path, &self.target)?;
        }
        self.place = Place::Nameless;
        Ok(())
    }

    /// Gives the nameless file the name `to`; `false` if the name is taken.
    fn link(&self, to: &Path) -> std::io::Result<bool> {
        let from = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
        match rustix::fs::linkat(CWD, from.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn wrong_size(&self, actual: u64) -> ImageError {
        ImageError::SizeMismatch { what: self.what(), expected: self.blob.size, actual }
    }

    fn what(&self) -> String {
        format!("blob {}", self.blob.digest)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Place::Named(path) = &self.place {
            // Whatever stays is overwritten by the next attempt and removed by `prune`.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn unfinished(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(format!("{UNFINISHED}{}", digest.hex()))
}

fn nameless(dir: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

fn named(path: &Path) -> Result<File> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|error| ImageError::io("write to", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn blob(content: &[u8]) -> Blob {
        Blob { digest: Digest::of(content), size: content.len() as u64 }
    }

    /// Both kinds, one after the other, as under the blob's lock.
    const WRITERS: [fn(&Path, &Blob) -> BlobWriter; 2] = [
        |dir, blob| BlobWriter::new(dir, blob).unwrap(),
        |dir, blob| {
            let path = unfinished(dir, &blob.digest);
            BlobWriter::with(named(&path).unwrap(), Place::Named(path), dir, blob)
        },
    ];

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn verified_content_gets_its_name_and_replaces_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let blob = blob(b"content");
        let target = dir.path().join(blob.digest.hex());
        for begin in WRITERS {
            let mut writer = begin(dir.path(), &blob);
            std::fs::write(&target, "damaged").unwrap();
            writer.write(b"cont").unwrap();
            writer.write(b"ent").unwrap();
            writer.publish().await.unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"content");
        }
        assert_eq!(names(dir.path()), [blob.digest.hex()]);
    }

    #[tokio::test]
    async fn what_is_not_verified_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blob = blob(b"content");
        for content in ["contens", "conten", "contents", ""] {
            for begin in WRITERS {
                let mut writer = begin(dir.path(), &blob);
                let error = match writer.write(content.as_bytes()) {
                    Ok(()) => writer.publish().await.expect_err(content),
                    Err(error) => {
                        drop(writer);
                        error
                    }
                };
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
            assert!(names(dir.path()).is_empty(), "{content}");
        }
    }
}
