//! What reading an image may keep in memory at once: an image of a few MiB can name the same
//! blocks as often as it likes.

use super::ReadError;
use super::error::within;

/// Bytes of names, paths and targets, and what each takes beside its text.
const HELD_MAX: u64 = 256 << 20;
/// Names that are looked at.
const NAMES_MAX: u64 = 2_000_000;
/// What a name takes in memory beside its text, in bytes.
const EACH: u64 = 64;

/// What one walk over an image may take.
#[derive(Debug)]
pub(super) struct Budget {
    names: u64,
    held: u64,
    limit: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { names: 0, held: 0, limit: HELD_MAX }
    }

    /// One that ends sooner.
    #[cfg(test)]
    pub(super) fn of(limit: u64) -> Self {
        Self { limit, ..Self::new() }
    }

    /// A name was listed, and is kept.
    pub(super) fn list(&mut self, name: &[u8]) -> Result<(), ReadError> {
        self.names += 1;
        within(self.names, NAMES_MAX, "names")?;
        self.keep(name)
    }

    /// A text is kept.
    pub(super) fn keep(&mut self, text: &[u8]) -> Result<(), ReadError> {
        self.held += text.len() as u64 + EACH;
        within(self.held, self.limit, "bytes of names")
    }

    /// A text is kept no longer.
    pub(super) fn drop(&mut self, text: &[u8]) {
        self.held = self.held.saturating_sub(text.len() as u64 + EACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_bytes_come_back() {
        let mut budget = Budget::of(2 * (EACH + 4));
        for _ in 0..10 {
            budget.list(b"name").unwrap();
            budget.keep(b"path").unwrap();
            assert!(budget.keep(b"").is_err());
            budget.drop(b"");
            budget.drop(b"name");
            budget.drop(b"path");
        }
        let mut budget = Budget::new();
        budget.names = NAMES_MAX;
        assert!(matches!(budget.list(b""), Err(ReadError::Limit { what: "names", .. })));
    }
}
