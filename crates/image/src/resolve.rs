//! From a source to an image whose blobs are in the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::compression::{Compression, Found, MAGIC_BYTES};
use crate::config::Parsed;
use crate::document::{Blob, Document, LayerBlob, Manifest};
use crate::error::within;
use crate::origin::Origin;
use crate::select::{self, Chosen};
use crate::{
    Digest, Hold, Image, ImageError, ImageRecord, Layer, Platform, Progress, PullPolicy,
    ResolveOptions, Result, Source, Store, limits,
};

impl Store {
    /// Brings the image of `source` into the store, unless it is there, and describes it.
    ///
    /// With [`PullPolicy::Missing`] an image of a registry that is in the store is found
    /// without any network: its blobs are checked for existence and size; their digests
    /// were verified when they came. Local sources are read every time, but layers that are
    /// in the store are not copied again.
    ///
    /// May be dropped at any point; what is finished by then stays.
    ///
    /// # Errors
    /// Anything that [`ImageError`] lists; the image is then not recorded.
    pub async fn resolve(
        &self,
        source: &Source,
        options: &ResolveOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        let hold = self.hold().await?;
        let reference = source.canonical();
        if let (Source::Registry(_), PullPolicy::Missing | PullPolicy::Never) =
            (source, options.pull)
        {
            if let Some(image) = self.cached(source, &options.platform, &hold).await? {
                return Ok(image);
            }
            if options.pull == PullPolicy::Never {
                return Err(ImageError::NotCached { reference });
            }
        }
        progress.resolving(&reference);
        let origin = Origin::open(source, options).await?;
        let chosen = select::choose(&origin, &reference, source.pinned(), options).await?;
        let fetch = Fetch { store: self, origin, reference, hold, progress };
        fetch.image(chosen, &options.platform).await
    }

    /// Describes an image that is in the store, without network or any change.
    ///
    /// # Errors
    /// [`ImageError::NotCached`], or the store's content is damaged.
    pub async fn inspect(&self, source: &Source, platform: &Platform) -> Result<Image> {
        let hold = self.hold().await?;
        let reference = source.canonical();
        match self.find(&reference, source.pinned(), platform)? {
            Some(record) => self.assemble(&reference, &record.digest, &hold),
            None => Err(ImageError::NotCached { reference }),
        }
    }

    /// Digest of the image manifest that `source` stood for when it was brought into the store
    /// last, if ever: without network, and whether its blobs are still there or not.
    ///
    /// # Errors
    /// The store's index cannot be read.
    pub fn meaning(&self, source: &Source, platform: &Platform) -> Result<Option<Digest>> {
        let record = self.find(&source.canonical(), source.pinned(), platform)?;
        Ok(record.map(|record| record.digest))
    }

    async fn cached(
        &self,
        source: &Source,
        platform: &Platform,
        hold: &Arc<Hold>,
    ) -> Result<Option<Image>> {
        let reference = source.canonical();
        let Some(record) = self.find(&reference, source.pinned(), platform)? else {
            return Ok(None);
        };
        match self.assemble(&reference, &record.digest, hold) {
            Ok(image) => {
                if record.is_stale() {
                    self.record(ImageRecord { last_used: SystemTime::now(), ..record }).await?;
                }
                Ok(Some(image))
            }
            Err(error) => {
                tracing::warn!(%reference, %error, "the cached image is damaged");
                Ok(None)
            }
        }
    }

    /// Describes the image of `digest`, all of whose blobs must be in the store.
    fn assemble(&self, reference: &str, digest: &Digest, hold: &Arc<Hold>) -> Result<Image> {
        let what = format!("manifest {digest}");
        let json = self.read(&what, digest, limits::MANIFEST_BYTES)?;
        let Document::Manifest(manifest) = Document::from_json(&what, &json)? else {
            return Err(ImageError::malformed(what, "it is an index"));
        };
        let config_digest = manifest.config.digest.clone();
        let what = format!("configuration {config_digest}");
        let json = self.read(&what, &config_digest, limits::CONFIG_BYTES)?;
        let parsed = Parsed::from_json(&what, &json)?;
        check_diff_ids(reference, &manifest, &parsed)?;
        let layers = manifest.layers.iter().zip(parsed.diff_ids);
        let layers = layers.map(|(layer, diff_id)| self.layer(layer, diff_id));
        Ok(Image {
            reference: reference.to_owned(),
            digest: digest.clone(),
            config_digest,
            config: parsed.config,
            layers: layers.collect::<Result<_>>()?,
            from_cache: true,
            hold: Arc::clone(hold),
        })
    }

    fn layer(&self, layer: &LayerBlob, diff_id: Digest) -> Result<Layer> {
        let digest = layer.blob.digest.clone();
        if !self.has(&layer.blob) {
            let origin = self.blob_path(&digest).display().to_string();
            return Err(ImageError::MissingBlob { what: format!("layer {digest}"), origin });
        }
        self.check_content(layer)?;
        let path = self.blob_path(&digest);
        let (compression, size) = (layer.compression, layer.blob.size);
        Ok(Layer { digest, diff_id, compression, size, path })
    }

    /// Compares what a stored layer is with what its media type says.
    fn check_content(&self, layer: &LayerBlob) -> Result<()> {
        let path = self.blob_path(&layer.blob.digest);
        let mut first = Vec::with_capacity(MAGIC_BYTES);
        File::open(&path)
            .and_then(|file| file.take(MAGIC_BYTES as u64).read_to_end(&mut first))
            .map_err(|error| ImageError::io("read", &path, error))?;
        match Compression::of_content(&first) {
            Found::Known(found) if found == layer.compression => Ok(()),
            found => Err(ImageError::LayerType {
                digest: layer.blob.digest.clone(),
                announced: format!("'{}'", layer.media_type),
                found: found.to_string(),
            }),
        }
    }
}

/// One image on its way from its origin into the store.
struct Fetch<'a> {
    store: &'a Store,
    origin: Origin,
    reference: String,
    hold: Arc<Hold>,
    progress: &'a dyn Progress,
}

impl Fetch<'_> {
    async fn image(&self, chosen: Chosen, platform: &Platform) -> Result<Image> {
        let Chosen { bytes, digest, manifest, index } = chosen;
        let mut fetched = self.config(&manifest, platform).await?;
        fetched |= self.layers(&manifest).await?;
        self.store.put(&digest, &bytes).await?;
        let image = self.store.assemble(&self.reference, &digest, &self.hold)?;
        let record = ImageRecord {
            reference: self.reference.clone(),
            platform: platform.clone(),
            digest,
            index_digest: index,
            size: manifest.size(),
            last_used: SystemTime::now(),
        };
        self.store.record(record).await?;
        Ok(Image { from_cache: !fetched && self.origin.is_local(), ..image })
    }

    /// Fetches the configuration and refuses the image before its layers are fetched.
    async fn config(&self, manifest: &Manifest, platform: &Platform) -> Result<bool> {
        let what = format!("configuration {}", manifest.config.digest);
        let fetched = self.blob(&manifest.config, None).await?;
        let json = self.store.read(&what, &manifest.config.digest, limits::CONFIG_BYTES)?;
        let parsed = Parsed::from_json(&what, &json)?;
        // Some hand-made images do not say what they are for.
        let silent = parsed.config.os.is_empty() && parsed.config.architecture.is_empty();
        if !silent && !platform.accepts(&parsed.platform) {
            return Err(ImageError::NoSuchPlatform {
                reference: self.reference.clone(),
                wanted: platform.clone(),
                available: parsed.platform.to_string(),
            });
        }
        check_diff_ids(&self.reference, manifest, &parsed)?;
        Ok(fetched)
    }

    async fn layers(&self, manifest: &Manifest) -> Result<bool> {
        let mut fetches = Vec::new();
        for layer in distinct(&manifest.layers)? {
            fetches.push(self.layer(layer));
        }
        let mut fetches = stream::iter(fetches).buffer_unordered(limits::PARALLEL_LAYERS);
        let mut any = false;
        while let Some(fetched) = fetches.try_next().await? {
            any |= fetched;
        }
        Ok(any)
    }

    async fn layer(&self, layer: &LayerBlob) -> Result<bool> {
        let fetched = self.blob(&layer.blob, Some(self.progress)).await?;
        if let Err(error) = self.store.check_content(layer) {
            self.store.discard(&layer.blob.digest)?;
            return Err(error);
        }
        self.progress.layer_done(layer.blob.digest.as_str());
        Ok(fetched)
    }

    /// Brings a blob into the store; `false` if it was there.
    async fn blob(&self, blob: &Blob, progress: Option<&dyn Progress>) -> Result<bool> {
        if self.store.has(blob) {
            return Ok(false);
        }
        let _lock = self.store.lock_blob(&blob.digest).await?;
        // Another process may have brought it meanwhile.
        if self.store.has(blob) {
            return Ok(false);
        }
        let mut tries = limits::BLOB_RETRIES;
        loop {
            let mut writer = self.store.write_blob(blob)?;
            match self.origin.blob(blob, &mut writer, progress).await {
                Ok(()) => return writer.publish().await.map(|()| true),
                Err(error) if error.is_transient() && tries > 0 => {
                    tries -= 1;
                    tracing::warn!(digest = %blob.digest, %error, "fetching it again");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The layers without those that are there more than once.
fn distinct(layers: &[LayerBlob]) -> Result<Vec<&LayerBlob>> {
    let mut sizes = HashMap::new();
    let mut wanted = Vec::new();
    for layer in layers {
        match sizes.insert(&layer.blob.digest, layer.blob.size) {
            None => wanted.push(layer),
            Some(size) if size == layer.blob.size => (),
            Some(size) => {
                return Err(ImageError::SizeMismatch {
                    what: format!("layer {}, which is listed twice,", layer.blob.digest),
                    expected: size,
                    actual: layer.blob.size,
                });
            }
        }
    }
    Ok(wanted)
}

fn check_diff_ids(reference: &str, manifest: &Manifest, parsed: &Parsed) -> Result<()> {
    within("the number of diff_ids", parsed.diff_ids.len() as u64, limits::LAYERS as u64)?;
    let (layers, diff_ids) = (manifest.layers.len(), parsed.diff_ids.len());
    if layers == diff_ids {
        return Ok(());
    }
    Err(ImageError::malformed(
        format!("image '{reference}'"),
        format!("its manifest has {layers} layers and its configuration {diff_ids} diff_ids"),
    ))
}
