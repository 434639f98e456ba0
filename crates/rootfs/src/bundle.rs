//! A disk from an archive, or from a directory of the host, as it is now.
//!
//! Either way it is an archive that is read by the rules for layers, from the same hostile
//! hands; only whiteouts mean nothing in it.

use std::fs::File;
use std::path::Path;

use crate::build::Wanted;
use crate::layer::{Contents, decompress_all, pack};
use crate::merge::{Merging, merge_from};
use crate::spool::Spool;
use crate::{BuildReport, Compression, DiskSize, LayerInput, Limits, RootfsError, build};

/// What a bundle is made of.
#[derive(Debug, Clone, Copy)]
pub struct BundleRequest<'a> {
    /// A tar, plain or packed with gzip or zstd, found by content; or a directory.
    pub source: &'a Path,
    /// What error messages call it.
    pub description: &'a str,
    /// Whose its files are.
    pub owners: Owners,
    /// Size of the disk.
    pub size: DiskSize,
    /// What the file system's UUID and hash seed come from.
    pub identity: &'a str,
    /// What the archive is held to.
    pub limits: Limits,
}

/// Whose the files of a bundle are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Root's, all of them: without set-id bits and capabilities, which were given to others.
    Root,
    /// Whose they are in the archive or the directory.
    Kept,
}

/// Writes a bundle to `out` as one ext4 image; otherwise as [`build`](crate::build).
///
/// # Errors
/// As [`build`](crate::build).
pub fn build_bundle(
    request: &BundleRequest<'_>,
    out: &File,
    progress: &dyn Fn(u64),
) -> Result<BuildReport, RootfsError> {
    let BundleRequest { source, description, owners, size, identity, limits } = *request;
    let mut spool = Spool::beside(out)?;
    let merging = Merging { limits: &limits, contents: Contents::Bundle(owners), progress };
    let tree = if source.is_dir() {
        merge_from(&[(description, None)], &merging, &mut spool, |producer| {
            pack(source, producer);
        })?
    } else {
        let layer = LayerInput {
            path: source.to_owned(),
            compression: compression(source, description)?,
            diff_id: None,
            description: description.to_owned(),
        };
        merge_from(&[(description, None)], &merging, &mut spool, |producer| {
            decompress_all(std::slice::from_ref(&layer), producer);
        })?
    };
    build::finish(&tree, spool, &Wanted { size, identity, limits: &limits }, out)
}

/// Makes an empty file system in `out`.
///
/// # Errors
/// As [`build`](crate::build).
pub fn build_empty(size: DiskSize, identity: &str, out: &File) -> Result<BuildReport, RootfsError> {
    let limits = Limits::default();
    let mut spool = Spool::beside(out)?;
    let contents = Contents::Bundle(Owners::Root);
    let merging = Merging { limits: &limits, contents, progress: &|_| () };
    let tree = merge_from(&[], &merging, &mut spool, |_| ())?;
    build::finish(&tree, spool, &Wanted { size, identity, limits: &limits }, out)
}

/// How an archive is compressed, by its first bytes.
fn compression(path: &Path, description: &str) -> Result<Compression, RootfsError> {
    use std::io::Read;
    let failed = || RootfsError::io(format!("{description}: reading {}", path.display()));
    let mut magic = Vec::new();
    let file = File::open(path).map_err(failed())?;
    file.take(4).read_to_end(&mut magic).map_err(failed())?;
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    })
}
