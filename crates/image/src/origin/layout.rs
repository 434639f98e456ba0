//! The OCI image layout, in a directory or in a tar.

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::{Descriptor, ImageIndex};

use super::archive::Archive;
use super::local::Section;
use crate::document::Blob;
use crate::select::listed;
use crate::store::open_regular;
use crate::{ImageError, Result, Source, limits};

/// The annotation under which a layout lists an image.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "index.json";

/// A layout and the name that was asked for.
pub(crate) struct Layout {
    source: Source,
    files: Files,
    tag: Option<String>,
}

/// Where the files of a layout are.
pub(crate) enum Files {
    Dir(PathBuf),
    Archive(Archive),
}

impl Layout {
    pub(crate) fn new(source: &Source, files: Files, tag: Option<&str>) -> Self {
        Self { source: source.clone(), files, tag: tag.map(str::to_owned) }
    }

    /// The entries of `index.json` under the name that was asked for; without one, all of
    /// them, which must not have different names.
    pub(crate) fn entries(&self) -> Result<Vec<Descriptor>> {
        let what = format!("{INDEX} of '{}'", self.source);
        let index = self.files.section(INDEX)?.ok_or_else(|| self.no_layout())?;
        let index = index.read(&what, limits::MANIFEST_BYTES)?;
        let index: ImageIndex =
            serde_json::from_slice(&index).map_err(|error| ImageError::malformed(what, error))?;
        let entries = index.manifests().clone();
        let mut names: Vec<String> = entries.iter().filter_map(ref_name).collect();
        names.sort();
        names.dedup();
        let Some(tag) = &self.tag else {
            return match names.len() {
                0 | 1 => Ok(entries),
                _ => Err(ImageError::Ambiguous {
                    origin: self.source.to_string(),
                    names: listed(&names),
                }),
            };
        };
        let named = |entry: &Descriptor| ref_name(entry).as_ref() == Some(tag);
        let found: Vec<_> = entries.into_iter().filter(named).collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(ImageError::NotFound {
                reference: self.source.to_string(),
                reason: format!("the layout has {}", listed(&names)),
            }),
        }
    }

    pub(crate) fn document(&self, blob: &Blob) -> Result<Vec<u8>> {
        let what = format!("manifest {}", blob.digest);
        self.content(blob)?.read(&what, limits::MANIFEST_BYTES)
    }

    pub(crate) fn content(&self, blob: &Blob) -> Result<Section> {
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        let section = self.files.section(&name)?.ok_or_else(|| ImageError::MissingBlob {
            what: format!("blob {}", blob.digest),
            origin: self.source.to_string(),
        })?;
        if section.len == blob.size {
            return Ok(section);
        }
        let what = format!("blob {}", blob.digest);
        Err(ImageError::SizeMismatch { what, expected: blob.size, actual: section.len })
    }

    fn no_layout(&self) -> ImageError {
        ImageError::NotFound {
            reference: self.source.to_string(),
            reason: format!("it holds no {INDEX}, so it is no OCI image layout"),
        }
    }
}

impl Files {
    fn section(&self, name: &str) -> Result<Option<Section>> {
        let dir = match self {
            Self::Archive(archive) => return archive.section(name),
            Self::Dir(dir) => dir,
        };
        let path = dir.join(name);
        let opened = open_regular(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((len, file)) => Ok(Some(Section { file: Arc::new(file), path, offset: 0, len })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ImageError::io("open", dir, error))
            }
            Err(error) => Err(ImageError::io("read", &path, error)),
        }
    }
}

fn ref_name(entry: &Descriptor) -> Option<String> {
    entry.annotations().as_ref()?.get(REF_NAME).cloned()
}
