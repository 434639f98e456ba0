//! Choosing the manifest of one platform.

use std::collections::{BTreeSet, VecDeque};

use oci_spec::image::Descriptor;

use crate::document::{Blob, Document, Manifest, Target};
use crate::error::within;
use crate::origin::{Origin, Root};
use crate::{Digest, ImageError, Platform, ResolveOptions, Result, limits};

/// The manifest that was chosen, verified.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    /// The index that led to it.
    pub(crate) index: Option<Digest>,
}

/// Indexes within an index: one level in what a registry serves, and one more below the
/// `index.json` of a local layout, which is an index only by its form.
const REGISTRY_LEVELS: usize = 1;
const LAYOUT_LEVELS: usize = 2;

/// Finds the manifest for the platform of `options` at `origin`.
pub(crate) async fn choose(
    origin: &Origin,
    reference: &str,
    pinned: Option<&Digest>,
    options: &ResolveOptions,
) -> Result<Chosen> {
    let mut search = Search::new(origin, reference, &options.platform);
    match origin.root().await? {
        Root::Document(bytes) => {
            let digest = Digest::of(&bytes);
            if let Some(expected) = pinned.filter(|expected| **expected != digest) {
                let (what, expected) = (format!("manifest of '{reference}'"), expected.clone());
                return Err(ImageError::DigestMismatch { what, expected, actual: digest });
            }
            match Document::from_json(&format!("manifest of '{reference}'"), &bytes)? {
                Document::Manifest(manifest) => Ok(Chosen { bytes, digest, manifest, index: None }),
                Document::Index(entries) => {
                    search.index = Some(digest);
                    search.run(entries, REGISTRY_LEVELS).await
                }
            }
        }
        Root::Entries(entries) => search.run(entries, LAYOUT_LEVELS).await,
    }
}

struct Search<'a> {
    origin: &'a Origin,
    reference: &'a str,
    wanted: &'a Platform,
    index: Option<Digest>,
    available: BTreeSet<String>,
    opened: usize,
}

impl<'a> Search<'a> {
    fn new(origin: &'a Origin, reference: &'a str, wanted: &'a Platform) -> Self {
        Self { origin, reference, wanted, index: None, available: BTreeSet::new(), opened: 0 }
    }

    /// Breadth first, so that what an index says itself comes before what is nested in it.
    async fn run(mut self, entries: Vec<Descriptor>, levels: usize) -> Result<Chosen> {
        let mut queue = VecDeque::from([(entries, self.index.clone(), levels)]);
        while let Some((entries, index, levels)) = queue.pop_front() {
            if let Some(found) = self.pick(&entries) {
                let (bytes, digest, document) = self.document(found).await?;
                let Document::Manifest(manifest) = document else {
                    let what = format!("manifest {digest}");
                    return Err(ImageError::malformed(what, "it is an index"));
                };
                return Ok(Chosen { bytes, digest, manifest, index });
            }
            for entry in entries.iter().filter(|entry| Target::of(entry) == Target::Index) {
                let (_, digest, document) = self.nested(entry, levels).await?;
                if let Document::Index(entries) = document {
                    // The outermost index of a registry is what its users pin.
                    let index = index.clone().or(Some(digest));
                    queue.push_back((entries, index, levels.saturating_sub(1)));
                }
            }
        }
        Err(ImageError::NoSuchPlatform {
            reference: self.reference.to_owned(),
            wanted: self.wanted.clone(),
            available: listed(&self.available),
        })
    }

    /// The first entry for the platform, or else the first that does not say its platform:
    /// its configuration will.
    fn pick<'e>(&mut self, entries: &'e [Descriptor]) -> Option<&'e Descriptor> {
        let mut silent = None;
        for entry in entries.iter().filter(|entry| Target::of(entry) == Target::Manifest) {
            match platform_of(entry) {
                Some(platform) if self.wanted.accepts(&platform) => return Some(entry),
                // Attestations are listed as images of an unknown platform.
                Some(platform) if platform.os() == "unknown" => (),
                Some(platform) => {
                    self.available.insert(platform.to_string());
                }
                None => silent = silent.or(Some(entry)),
            }
        }
        silent
    }

    async fn nested(
        &mut self,
        entry: &Descriptor,
        levels: usize,
    ) -> Result<(Vec<u8>, Digest, Document)> {
        if levels == 0 {
            return Err(ImageError::unsupported(
                format!("image '{}'", self.reference),
                "its indexes are nested deeper than one level",
            ));
        }
        self.opened += 1;
        let limit = limits::NESTED_INDEXES;
        within("the number of nested indexes", self.opened as u64, limit as u64)?;
        self.document(entry).await
    }

    /// Fetches and verifies what `entry` points at.
    async fn document(&self, entry: &Descriptor) -> Result<(Vec<u8>, Digest, Document)> {
        let blob = Blob::new(entry)?;
        let what = format!("manifest {}", blob.digest);
        within(&format!("the size of {what}"), blob.size, limits::MANIFEST_BYTES)?;
        let bytes = self.origin.document(&blob).await?;
        let actual = Digest::of(&bytes);
        if bytes.len() as u64 != blob.size {
            let (expected, actual) = (blob.size, bytes.len() as u64);
            return Err(ImageError::SizeMismatch { what, expected, actual });
        }
        if actual != blob.digest {
            return Err(ImageError::DigestMismatch { what, expected: blob.digest, actual });
        }
        let document = Document::from_json(&what, &bytes)?;
        Ok((bytes, actual, document))
    }
}

fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
    Some(Platform::new(&os, &architecture, platform.variant().as_deref()))
}

/// Names for a message, shortened if there are many; their texts come from the image.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(limits::LISTED_NAMES).map(String::as_str).collect();
    match (shown.is_empty(), names.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
