//! Seeing a word go by in the events of a child.

use microagent_vmm_protocol::EventWatch;

/// Looks for a word in a stream, however it is cut.
#[derive(Debug)]
pub(crate) struct WordWatch {
    word: Vec<u8>,
    /// The end of what has gone by: too short to hold the word.
    end: Vec<u8>,
    seen: bool,
}

impl WordWatch {
    pub(crate) fn new(watch: &EventWatch) -> Self {
        Self { word: watch.word.clone().into_bytes(), end: Vec::new(), seen: false }
    }

    pub(crate) fn look(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(bytes);
        self.seen |= self.end.windows(self.word.len().max(1)).any(|part| part == self.word);
        let kept = self.word.len().saturating_sub(1);
        self.end.drain(..self.end.len().saturating_sub(kept));
    }

    /// Whether it has gone by.
    pub(crate) fn seen(&self) -> bool {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_cut() {
        let check = |text: &str, expect| {
            for cut in 0..=text.len() {
                let mut watch = WordWatch::new(&EventWatch { word: "\"ended\"".into() });
                let (head, tail) = text.as_bytes().split_at(cut);
                watch.look(head);
                watch.look(tail);
                assert_eq!(watch.seen(), expect, "{text:?} cut at {cut}");
                assert!(watch.end.len() < watch.word.len());
            }
        };
        check("{\"event\": \"ended\"}\n", true);
        check("\"\"ended\"ended\"", true);
        check("\"ended", false);
        check("", false);
    }
}
