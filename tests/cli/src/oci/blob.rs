//! Layers as they are stored and named.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// A layer as it is stored. The fields may be made to lie.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The bytes that are stored.
    pub bytes: Vec<u8>,
    /// What a manifest says that they are.
    pub media_type: String,
    /// Digest of the bytes before compression.
    pub diff_id: String,
    /// Digest under which they are stored and announced.
    pub digest: String,
}

impl Blob {
    /// Packs a tar.
    ///
    /// # Panics
    /// Where the compressor fails.
    pub fn pack(tar: &[u8], compression: Compression) -> Self {
        let (bytes, ending) = match compression {
            Compression::None => (tar.to_vec(), ""),
            Compression::Gzip => (gzip(tar), "+gzip"),
            Compression::Zstd => (zstd::encode_all(tar, 1).expect("compress with zstd"), "+zstd"),
        };
        Self {
            digest: digest_of(&bytes),
            media_type: format!("application/vnd.oci.image.layer.v1.tar{ending}"),
            diff_id: digest_of(tar),
            bytes,
        }
    }

    /// Packs with gzip what `fill` writes, which may be more than there is memory for.
    ///
    /// # Panics
    /// Where the compressor fails.
    pub fn stream(fill: &dyn Fn(&mut dyn Write)) -> Self {
        let mut sum = Summed(Sha256::new());
        fill(&mut sum);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        fill(&mut encoder);
        let bytes = encoder.finish().expect("writing to memory does not fail");
        Self {
            digest: digest_of(&bytes),
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            diff_id: format!("sha256:{}", hex::encode(sum.0.finalize())),
            bytes,
        }
    }
}

/// What was written is only summed up.
struct Summed(Sha256);

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(tar).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// `sha256:` and the sum of these bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
