//! Manifests and indexes, Docker's and OCI's.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::compression::Compression;
use crate::error::within;
use crate::{Digest, ImageError, Result, limits};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What is asked for when a manifest is fetched, the best first.
pub(crate) const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// A verified manifest or index.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

/// The manifest of one platform's image, within the limits.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<LayerBlob>,
}

/// Content by its digest and its announced size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A layer as its manifest announces it.
#[derive(Debug, Clone)]
pub(crate) struct LayerBlob {
    pub(crate) blob: Blob,
    pub(crate) media_type: String,
    pub(crate) compression: Compression,
}

/// The fields by which the kinds of documents are told apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads the document `what` from bytes whose digest was verified.
    pub(crate) fn from_json(what: &str, json: &[u8]) -> Result<Self> {
        within(&format!("the size of {what}"), json.len() as u64, limits::MANIFEST_BYTES)?;
        let malformed = |error: serde_json::Error| ImageError::malformed(what, error);
        let outline: Outline = serde_json::from_slice(json).map_err(malformed)?;
        if outline.is_index(what)? {
            let index: ImageIndex = serde_json::from_slice(json).map_err(malformed)?;
            return Ok(Document::Index(index.manifests().clone()));
        }
        let manifest: ImageManifest = serde_json::from_slice(json).map_err(malformed)?;
        Ok(Document::Manifest(Manifest::new(what, &manifest)?))
    }
}

impl Outline {
    fn is_index(&self, what: &str) -> Result<bool> {
        let media_type = self.media_type.as_deref();
        if self.schema_version == Some(1) || self.fs_layers.is_some() {
            return Err(ImageError::Unsupported {
                what: format!("{what} of Docker's schema 1"),
                reason: "registries and container engines have dropped it".to_owned(),
                hint: Some("push the image again with a current tool".to_owned()),
            });
        }
        // A document that is both at once reads differently to different tools while its
        // digest is the same (CVE-2021-41190).
        let (index, manifest) =
            (self.manifests.is_some(), self.layers.is_some() || self.config.is_some());
        match (index, manifest, media_type) {
            (true, false, None | Some(OCI_INDEX | DOCKER_LIST)) => Ok(true),
            (false, true, None | Some(OCI_MANIFEST | DOCKER_MANIFEST)) => Ok(false),
            (true, true, _) => Err(ImageError::malformed(what, "it is a manifest and an index")),
            (_, _, Some(other)) if !ACCEPT.contains(&other) => Err(ImageError::unsupported(
                format!("{what} of type '{other}'"),
                "it is no image manifest and no image index",
            )),
            _ => Err(ImageError::malformed(what, "it is neither a manifest nor an index")),
        }
    }
}

impl Manifest {
    fn new(what: &str, manifest: &ImageManifest) -> Result<Self> {
        let config_type = manifest.config().media_type().to_string();
        if config_type != OCI_CONFIG && config_type != DOCKER_CONFIG {
            return Err(ImageError::unsupported(
                format!("{what} with a configuration of type '{config_type}'"),
                "it is an artifact and no container image",
            ));
        }
        let config = Blob::new(manifest.config())?;
        within("the size of the image's configuration", config.size, limits::CONFIG_BYTES)?;
        let count = manifest.layers().len() as u64;
        within("the number of the image's layers", count, limits::LAYERS as u64)?;
        let layers = manifest.layers().iter().map(LayerBlob::new).collect::<Result<_>>()?;
        Ok(Self { config, layers })
    }

    /// Bytes of the configuration and of all layers.
    pub(crate) fn size(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.blob.size);
        layers.fold(self.config.size, u64::saturating_add)
    }
}

impl Blob {
    pub(crate) fn new(descriptor: &Descriptor) -> Result<Self> {
        let text = descriptor.digest().to_string();
        let digest = text.parse().map_err(|_| {
            ImageError::unsupported(format!("digest '{text}'"), "only sha256 digests are known")
        })?;
        Ok(Self { digest, size: descriptor.size() })
    }
}

impl LayerBlob {
    fn new(descriptor: &Descriptor) -> Result<Self> {
        let blob = Blob::new(descriptor)?;
        let media_type = descriptor.media_type().to_string();
        let compression = Compression::of_media_type(&blob.digest, &media_type)?;
        within(&format!("the size of layer {}", blob.digest), blob.size, limits::LAYER_BYTES)?;
        Ok(Self { blob, media_type, compression })
    }
}

/// What a descriptor in an index points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Manifest,
    Index,
    Other,
}

impl Target {
    pub(crate) fn of(descriptor: &Descriptor) -> Self {
        match descriptor.media_type().as_ref() {
            OCI_MANIFEST | DOCKER_MANIFEST => Self::Manifest,
            OCI_INDEX | DOCKER_LIST => Self::Index,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const HEX: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn manifest(config_type: &str, layers: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config_type}","size":2,
            "digest":"sha256:{HEX}"}},"layers":[{layers}]}}"#
        )
    }

    fn layer(media_type: &str, digest: &str, size: u64) -> String {
        format!(r#"{{"mediaType":"{media_type}","size":{size},"digest":"{digest}"}}"#)
    }

    fn fails(json: &str, kind: ErrorKind, text: &str) {
        let error = Document::from_json("manifest", json.as_bytes()).expect_err(json);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn both_families_are_read() {
        let sha = format!("sha256:{HEX}");
        for (config, media_type, compression) in [
            (OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            (DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
        ] {
            let json = manifest(config, &layer(media_type, &sha, 3));
            let Document::Manifest(manifest) =
                Document::from_json("manifest", json.as_bytes()).unwrap()
            else {
                panic!("no manifest");
            };
            assert_eq!(manifest.layers[0].compression, compression);
            assert_eq!(manifest.size(), 5);
        }
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Document::from_json("index", index.as_bytes()),
            Ok(Document::Index(entries)) if entries.is_empty()
        ));
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let sha = format!("sha256:{HEX}");
        let tar = Compression::None.media_type();
        fails("{}", ErrorKind::Corrupt, "neither");
        fails("[", ErrorKind::Corrupt, "malformed");
        fails(r#"{"schemaVersion":1,"fsLayers":[]}"#, ErrorKind::Unsupported, "schema 1");
        fails(
            &manifest(OCI_CONFIG, "").replace("\"layers\"", "\"manifests\":[],\"layers\""),
            ErrorKind::Corrupt,
            "a manifest and an index",
        );
        fails(&manifest("text/helm", ""), ErrorKind::Unsupported, "text/helm");
        fails(&manifest(OCI_CONFIG, &layer("x/y", &sha, 1)), ErrorKind::Unsupported, "x/y");
        let sha512 = format!("sha512:{HEX}{HEX}");
        fails(&manifest(OCI_CONFIG, &layer(tar, &sha512, 1)), ErrorKind::Unsupported, "sha512:");
        fails(
            &manifest(OCI_CONFIG, &layer(tar, &sha, u64::MAX)),
            ErrorKind::Corrupt,
            "over the limit",
        );
        let many = vec![layer(tar, &sha, 1); limits::LAYERS + 1].join(",");
        fails(&manifest(OCI_CONFIG, &many), ErrorKind::Corrupt, "513, at most 512");
        fails(&" ".repeat((4 << 20) + 1), ErrorKind::Corrupt, "over the limit");
    }
}
