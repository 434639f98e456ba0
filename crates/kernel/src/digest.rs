//! SHA-256 of a file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::KernelError;

/// Larger than the read-ahead of a disk, smaller than a processor's second-level cache.
const CHUNK: usize = 256 * 1024;

/// The SHA-256 of all of `file`, in lower-case hexadecimal.
pub(crate) fn of_file(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    file.rewind()?;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// Whether `text` is a sum as [`of_file`] writes it.
pub(crate) fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Brings a sum that a user gave into the form that [`of_file`] writes.
pub(crate) fn parse(given: &str) -> Result<String, KernelError> {
    let text = given.strip_prefix("sha256:").unwrap_or(given).to_ascii_lowercase();
    if is_sum(&text) { Ok(text) } else { Err(KernelError::BadSum { value: given.to_owned() }) }
}

/// Fails unless `got`, the sum of `path`, is `expected`.
pub(crate) fn compare(path: &Path, expected: &str, got: &str) -> Result<(), KernelError> {
    if expected == got {
        return Ok(());
    }
    Err(KernelError::Mismatch { path: path.to_owned(), expected: expected.into(), got: got.into() })
}
