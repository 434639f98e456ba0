//! The end of what a child wrote to its standard error.

use microagent_vmm_protocol::MAX_LAST_WORDS;

/// Keeps the last [`MAX_LAST_WORDS`] bytes.
#[derive(Debug, Default)]
pub(crate) struct LastWords(Vec<u8>);

impl LastWords {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(MAX_LAST_WORDS)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(MAX_LAST_WORDS);
        self.0.drain(..excess);
        self.0.extend_from_slice(bytes);
    }

    /// As text of at most [`MAX_LAST_WORDS`] bytes.
    pub(crate) fn into_text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.0).into_owned();
        // A byte that is no text became three; what overflows is cut at the front.
        let excess = text.len().saturating_sub(MAX_LAST_WORDS);
        let cut = (excess..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
        text.drain(..cut);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&[u8]], expect: &str) {
        let mut words = LastWords::default();
        parts.iter().for_each(|part| words.push(part));
        let text = words.into_text();
        assert!(text.len() <= MAX_LAST_WORDS);
        assert!(text.ends_with(expect), "{} bytes, {expect}", text.len());
    }

    #[test]
    fn the_end_is_kept() {
        check(&[], "");
        check(&[b"one ", b"two"], "one two");
        check(&[&[b'a'; MAX_LAST_WORDS], b"end"], "aend");
        check(&[b"start", &[b'a'; 3 * MAX_LAST_WORDS]], &"a".repeat(MAX_LAST_WORDS));
        check(&[&[0xff; MAX_LAST_WORDS], b"end"], "\u{fffd}end");
    }
}
