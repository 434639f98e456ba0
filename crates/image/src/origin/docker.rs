//! What `docker save` writes: a tar with a `manifest.json`.
//!
//! Such an archive has no OCI manifest, so one is made: of the same archive always the same
//! bytes, so that the image has a digest that stays.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::local::Section;
use crate::compression::{Compression, Found, MAGIC_BYTES};
use crate::config::Parsed;
use crate::document::{Blob, OCI_CONFIG, OCI_MANIFEST};
use crate::error::within;
use crate::select::listed;
use crate::{Digest, ImageError, Reference, Result, Source, limits};

const MANIFEST: &str = "manifest.json";

/// One image of an archive, as if it were an OCI image.
pub(crate) struct DockerArchive {
    source: Source,
    manifest: Vec<u8>,
    contents: HashMap<Digest, Section>,
}

/// An image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An OCI manifest; the order of its fields is the order of its bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
}

impl DockerArchive {
    pub(crate) async fn new(source: &Source, archive: Archive, tag: Option<&str>) -> Result<Self> {
        let entry = choose(source, read_entries(source, &archive)?, tag)?;
        let reading = Reading { source, archive, contents: HashMap::new() };
        reading.image(entry).await
    }

    pub(crate) fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    pub(crate) fn document(&self, blob: &Blob) -> Result<Vec<u8>> {
        let what = format!("manifest {}", blob.digest);
        self.content(blob)?.read(&what, limits::MANIFEST_BYTES)
    }

    pub(crate) fn content(&self, blob: &Blob) -> Result<Section> {
        self.contents.get(&blob.digest).cloned().ok_or_else(|| ImageError::MissingBlob {
            what: format!("blob {}", blob.digest),
            origin: self.source.to_string(),
        })
    }
}

/// An archive while its image is put together.
struct Reading<'a> {
    source: &'a Source,
    archive: Archive,
    contents: HashMap<Digest, Section>,
}

impl Reading<'_> {
    async fn image(mut self, entry: Entry) -> Result<DockerArchive> {
        let layers = entry.layers.unwrap_or_default();
        within("the number of the image's layers", layers.len() as u64, limits::LAYERS as u64)?;
        let what = format!("configuration '{}'", entry.config);
        let section = self.member(&entry.config)?;
        let config = section.read(&what, limits::CONFIG_BYTES)?;
        let diff_ids = Parsed::from_json(&what, &config)?.diff_ids;
        if layers.len() != diff_ids.len() {
            let (layers, ids) = (layers.len(), diff_ids.len());
            let reason = format!("it has {layers} layers and its configuration {ids} diff_ids");
            return Err(ImageError::malformed(format!("image '{}'", self.source), reason));
        }
        let config = self.add(OCI_CONFIG, Digest::of(&config), section);
        let mut descriptors = Vec::new();
        for (name, diff_id) in layers.iter().zip(diff_ids) {
            descriptors.push(self.layer(name, diff_id).await?);
        }
        let manifest =
            Manifest { schema_version: 2, media_type: OCI_MANIFEST, config, layers: descriptors };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| ImageError::malformed("the manifest", error))?;
        Ok(DockerArchive { source: self.source.clone(), manifest, contents: self.contents })
    }

    /// Uncompressed, a layer's digest is its diff_id, so its content need not be read to
    /// know it; it is verified when it is copied.
    async fn layer(&mut self, name: &str, diff_id: Digest) -> Result<Descriptor<'static>> {
        let section = self.member(name)?;
        within(&format!("the size of layer '{name}'"), section.len, limits::LAYER_BYTES)?;
        let compression = match Compression::of_content(&section.first(MAGIC_BYTES)?) {
            Found::Known(compression) => compression,
            Found::Other(found) => {
                return Err(ImageError::LayerType {
                    digest: diff_id,
                    announced: format!("'{name}'"),
                    found: found.to_owned(),
                });
            }
        };
        let digest = match (compression, named_by_digest(name)) {
            (Compression::None, _) => diff_id,
            (_, Some(digest)) => digest,
            (_, None) => section.digest().await?,
        };
        Ok(self.add(compression.media_type(), digest, section))
    }

    fn add<'a>(&mut self, media_type: &'a str, digest: Digest, section: Section) -> Descriptor<'a> {
        let size = section.len;
        self.contents.insert(digest.clone(), section);
        Descriptor { media_type, digest, size }
    }

    fn member(&self, name: &str) -> Result<Section> {
        self.archive.section(name)?.ok_or_else(|| ImageError::MissingBlob {
            what: format!("member '{name}'"),
            origin: self.source.to_string(),
        })
    }
}

fn read_entries(source: &Source, archive: &Archive) -> Result<Vec<Entry>> {
    let what = format!("{MANIFEST} of '{source}'");
    let section = archive.section(MANIFEST)?.ok_or_else(|| ImageError::NotFound {
        reference: source.to_string(),
        reason: format!("it holds no {MANIFEST}, so 'docker save' did not write it"),
    })?;
    let json = section.read(&what, limits::MANIFEST_BYTES)?;
    serde_json::from_slice(&json).map_err(|error| ImageError::malformed(what, error))
}

/// The image under the name `tag`; without one there must be a single image.
fn choose(source: &Source, mut entries: Vec<Entry>, tag: Option<&str>) -> Result<Entry> {
    let names: Vec<String> =
        entries.iter().flat_map(|entry| entry.repo_tags.iter().flatten().cloned()).collect();
    let Some(tag) = tag else {
        return match (entries.pop(), entries.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => {
                Err(ImageError::Ambiguous { origin: source.to_string(), names: listed(&names) })
            }
            (None, _) => Err(ImageError::malformed(format!("'{source}'"), "it holds no image")),
        };
    };
    let wanted = tag.parse::<Reference>().ok();
    let is_wanted = |name: &String| {
        name == tag || (wanted.is_some() && name.parse::<Reference>().ok() == wanted)
    };
    let named = |entry: &Entry| entry.repo_tags.iter().flatten().any(is_wanted);
    entries.into_iter().find(named).ok_or_else(|| ImageError::NotFound {
        reference: source.to_string(),
        reason: format!("the archive has {}", listed(&names)),
    })
}

/// Archives that are also OCI layouts name their members by digest.
fn named_by_digest(name: &str) -> Option<Digest> {
    format!("sha256:{}", name.strip_prefix("blobs/sha256/")?).parse().ok()
}
