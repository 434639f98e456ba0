//! What a root disk is built from, and what is told about it afterwards.

use std::path::PathBuf;

use crate::Limits;

/// How a layer's archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// zstd, of one or several frames; windows up to 128 MiB.
    Zstd,
}

/// One layer of an image, as a file on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInput {
    /// The file that holds it.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: Compression,
    /// `sha256:<hex>` of the uncompressed archive. It is verified while the
    /// layer is read, and a mismatch refuses the build.
    pub diff_id: Option<String>,
    /// What error messages call this layer.
    pub description: String,
}

/// How large a root disk is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSize {
    /// The smallest whole GiB that leaves 512 MiB free.
    Default,
    /// This many MiB, at least 128.
    MiB(u32),
}

/// Everything that decides the bytes of a root disk.
#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The layers, lowest first.
    pub layers: &'a [LayerInput],
    /// Size of the disk.
    pub size: DiskSize,
    /// The image's manifest digest. The file system's UUID and hash seed come
    /// from it, so that the same image and size give the same bytes.
    pub identity: &'a str,
    /// What the layers are held to.
    pub limits: Limits,
}

/// What was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildReport {
    /// Length of the image file, in bytes; most of it is a hole.
    pub size_bytes: u64,
    /// Inodes that the image's own tree uses.
    pub inodes: u64,
    /// Bytes of file content, after merging; holes of sparse files not counted.
    pub content_bytes: u64,
    /// The smallest size that would have worked, in MiB.
    pub minimum_mib: u64,
}
