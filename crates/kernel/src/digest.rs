//! SHA-256 sums as they are written.

use std::path::Path;

use crate::error::KernelError;

/// Whether `text` is a sum in lower-case hexadecimal.
pub(crate) fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Brings a sum that a user gave into that form.
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
