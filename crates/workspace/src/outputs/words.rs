//! What an agent says about a transfer that failed.

use std::sync::{Arc, Mutex, PoisonError};

use microagent_vsock::{Sink, sink_to};

/// How much is kept, in bytes.
const MAX: usize = 2048;

/// Keeps the first of what is written to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    /// Where to write to it.
    pub(crate) fn sink(&self) -> Sink {
        let words = self.clone();
        sink_to(move |bytes| words.push(bytes))
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// What was said, in one line that is safe to print.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        one_line(&String::from_utf8_lossy(&bytes))
    }
}

/// What a guest said, in one line that is safe to print and not too long.
pub(crate) fn one_line(text: &str) -> String {
    text.trim_end().chars().take(MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
