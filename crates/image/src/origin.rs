//! Where an image is read from: one interface over registries and local files.

mod archive;
mod credentials;
mod docker;
mod layout;
mod local;
mod registry;

use oci_spec::image::Descriptor;

use crate::document::Blob;
use crate::store::BlobWriter;
use crate::{Progress, ResolveOptions, Result, Source};
use archive::Archive;
use docker::DockerArchive;
use layout::{Files, Layout};
use registry::Registry;

/// An opened source.
pub(crate) enum Origin {
    Registry(Box<Registry>),
    Layout(Layout),
    Docker(DockerArchive),
}

/// Where the search for a platform's manifest begins.
pub(crate) enum Root {
    /// A manifest or an index, not verified.
    Document(Vec<u8>),
    /// What a layout lists under the name that was asked for.
    Entries(Vec<Descriptor>),
}

impl Origin {
    pub(crate) async fn open(source: &Source, options: &ResolveOptions) -> Result<Self> {
        match source {
            Source::Registry(reference) => {
                let registry = Registry::connect(reference, options).await?;
                Ok(Self::Registry(Box::new(registry)))
            }
            Source::Layout(local) => {
                let files = Files::Dir(local.path().to_owned());
                Ok(Self::Layout(Layout::new(source, files, local.tag())))
            }
            Source::LayoutArchive(local) => {
                let files = Files::Archive(Archive::open(local.path()).await?);
                Ok(Self::Layout(Layout::new(source, files, local.tag())))
            }
            Source::DockerArchive(local) => {
                let archive = Archive::open(local.path()).await?;
                Ok(Self::Docker(DockerArchive::new(source, archive, local.tag()).await?))
            }
        }
    }

    pub(crate) async fn root(&self) -> Result<Root> {
        match self {
            Self::Registry(registry) => registry.root().await.map(Root::Document),
            Self::Layout(layout) => layout.entries().map(Root::Entries),
            Self::Docker(docker) => Ok(Root::Document(docker.manifest().to_vec())),
        }
    }

    /// The bytes of a manifest or an index, not verified, within the limit on manifests.
    pub(crate) async fn document(&self, blob: &Blob) -> Result<Vec<u8>> {
        match self {
            Self::Registry(registry) => registry.document(&blob.digest).await,
            Self::Layout(layout) => layout.document(blob),
            Self::Docker(docker) => docker.document(blob),
        }
    }

    /// Writes a blob to `out`, which verifies it.
    pub(crate) async fn blob(
        &self,
        blob: &Blob,
        out: &mut BlobWriter,
        progress: Option<&dyn Progress>,
    ) -> Result<()> {
        match self {
            Self::Registry(registry) => registry.blob(blob, out, progress).await,
            Self::Layout(layout) => layout.content(blob)?.copy(blob, out, progress).await,
            Self::Docker(docker) => docker.content(blob)?.copy(blob, out, progress).await,
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        !matches!(self, Self::Registry(_))
    }
}
