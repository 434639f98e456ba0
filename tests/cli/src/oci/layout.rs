//! Images as directories in the OCI layout.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::oci::{Blob, Config, digest_of};

/// A directory in the OCI layout, with any number of images.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    manifests: Vec<Value>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAG: &str = "org.opencontainers.image.ref.name";

impl Layout {
    /// An empty layout in a new directory.
    ///
    /// # Panics
    /// Where it cannot be written; so do the methods below.
    pub fn create(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).expect("make a layout");
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("write a layout");
        let layout = Self { path: path.to_owned(), manifests: Vec::new() };
        layout.write_index();
        layout
    }

    /// Adds an image and gives the digest of its manifest.
    pub fn add(&mut self, tag: &str, config: &Config, layers: &[&Blob]) -> String {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = config.document(&diff_ids).to_string();
        let config_digest = self.blob(config.as_bytes());
        for layer in layers {
            self.write_blob(&layer.digest, &layer.bytes);
        }
        let layers: Vec<Value> = layers
            .iter()
            .map(
                |l| json!({ "mediaType": l.media_type, "digest": l.digest, "size": l.bytes.len() }),
            )
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
            "layers": layers,
        });
        self.manifest(tag, &manifest)
    }

    /// Adds a manifest as it is and gives its digest.
    pub fn manifest(&mut self, tag: &str, manifest: &Value) -> String {
        let text = manifest.to_string();
        let digest = self.blob(text.as_bytes());
        self.manifests.push(json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": text.len(),
            "annotations": { TAG: tag },
        }));
        self.write_index();
        digest
    }

    /// The reference by which `microagent` takes an image from here.
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.path.display())
    }

    /// The file that holds a blob.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        self.path.join("blobs").join(digest.replace(':', "/"))
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.write_blob(&digest, bytes);
        digest
    }

    fn write_blob(&self, digest: &str, bytes: &[u8]) {
        fs::write(self.blob_file(digest), bytes).expect("write a blob");
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.path.join("index.json"), index.to_string()).expect("write an index");
    }
}
