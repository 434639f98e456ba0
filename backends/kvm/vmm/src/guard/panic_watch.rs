//! Seeing a guest kernel's panic go by on its console.

/// What Linux prints, whatever the reason (`kernel/panic.c`).
const WORDS: &[u8] = b"Kernel panic - not syncing";

/// Looks for a kernel panic in a stream, however it is cut.
#[derive(Debug, Default)]
pub(crate) struct PanicWatch {
    /// How much of the words has been seen at the end of the stream so far.
    matched: usize,
    seen: bool,
}

impl PanicWatch {
    pub(crate) fn look(&mut self, bytes: &[u8]) {
        if self.seen {
            return;
        }
        for &byte in bytes {
            // The first letter occurs nowhere else in the words, so after a mismatch a match
            // can only begin with this very byte.
            self.matched = match byte == WORDS[self.matched] {
                true => self.matched + 1,
                false => usize::from(byte == WORDS[0]),
            };
            if self.matched == WORDS.len() {
                self.seen = true;
                return;
            }
        }
    }

    /// Whether a panic was seen.
    pub(crate) fn seen(&self) -> bool {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_letter_is_unique() {
        assert_eq!(WORDS.iter().filter(|&&b| b == WORDS[0]).count(), 1);
    }

    #[test]
    fn however_it_is_cut() {
        let check = |text: &str, expect| {
            for cut in 0..=text.len() {
                let mut watch = PanicWatch::default();
                let (head, tail) = text.as_bytes().split_at(cut);
                watch.look(head);
                watch.look(tail);
                assert_eq!(watch.seen(), expect, "{text:?} cut at {cut}");
            }
        };
        check("[ 1.0] Kernel panic - not syncing: VFS\n", true);
        check("KKernel KKernel panic - not syncing", true);
        check("Kernel panic - not sync", false);
        check("kernel panic - not syncing", false);
        check("", false);
    }
}
