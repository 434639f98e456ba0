//! How a layer is packed: what its media type says and what its first bytes say.

use std::fmt;

use crate::{Digest, ImageError, Result};

/// How the tar of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Bytes that are enough to tell the compressions apart.
pub(crate) const MAGIC_BYTES: usize = 6;

impl Compression {
    /// What a layer's media type promises.
    ///
    /// # Errors
    /// Foreign and non-distributable layers, which are not in the registry, and every
    /// unknown type, by name.
    pub(crate) fn of_media_type(digest: &Digest, media_type: &str) -> Result<Self> {
        match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Self::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Self::Zstd),
            foreign if foreign.contains("nondistributable") || foreign.contains("foreign") => {
                Err(ImageError::unsupported(
                    format!("layer {digest} of type '{foreign}'"),
                    "its content may not be distributed by registries",
                ))
            }
            other => Err(ImageError::unsupported(
                format!("layer {digest} of type '{other}'"),
                "it is no tar, tar+gzip or tar+zstd layer",
            )),
        }
    }

    /// What the first bytes of a file say.
    pub(crate) fn of_content(first: &[u8]) -> Found {
        match first {
            [0x1f, 0x8b, ..] => Found::Known(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Found::Known(Self::Zstd),
            // A Zstandard stream may start with a skippable frame.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Found::Known(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Found::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Found::Other("xz"),
            _ => Found::Known(Self::None),
        }
    }

    /// The OCI media type of a layer that is packed like this.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// What the first bytes of a file are the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Something that a layer may be; `None` is also everything that has no magic number.
    Known(Compression),
    /// A format that no layer has.
    Other(&'static str),
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Anything without a magic number looks like an uncompressed tar.
            Self::Known(Compression::None) => f.write_str("neither gzip nor zstd"),
            Self::Known(compression) => compression.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_known_or_refused_by_name() {
        let digest = Digest::of(b"");
        let check = |media_type: &str, expect: Option<Compression>| {
            let got = Compression::of_media_type(&digest, media_type);
            if let Err(error) = &got {
                assert!(error.to_string().contains(media_type), "{error}");
                assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
            }
            assert_eq!(got.ok(), expect, "{media_type}");
        };
        for known in [Compression::None, Compression::Gzip, Compression::Zstd] {
            check(known.media_type(), Some(known));
        }
        check("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip));
        check("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None);
        check("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", None);
        check("application/vnd.oci.image.layer.v1.tar+encrypted", None);
        check("text/plain", None);
    }

    #[test]
    fn content_is_told_by_its_first_bytes() {
        let check = |first: &[u8], expect: Found| {
            assert_eq!(Compression::of_content(first), expect, "{first:x?}");
        };
        check(&[0x1f, 0x8b, 8, 0, 0, 0], Found::Known(Compression::Gzip));
        check(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0], Found::Known(Compression::Zstd));
        check(&[0x51, 0x2a, 0x4d, 0x18, 0, 0], Found::Known(Compression::Zstd));
        check(b"etc/pa", Found::Known(Compression::None));
        check(b"", Found::Known(Compression::None));
        check(b"BZh91AY", Found::Other("bzip2"));
        check(&[0xfd, b'7', b'z', b'X', b'Z', 0], Found::Other("xz"));
    }
}
