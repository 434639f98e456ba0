//! Where a command's output goes when it is not passed through.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use microagent_workspace::{Sink, sink_to};

/// How much of each stream is kept for the JSON report, in bytes.
const MAX_CAPTURE: usize = 1 << 20;

/// Keeps the beginning of a stream and drops the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capture {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

/// A stream as it stands in a JSON report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// The text, or its base64 form.
    pub(super) text: String,
    /// Whether `text` is base64, because the bytes are no UTF-8.
    pub(super) base64: bool,
    /// Whether there was more.
    pub(super) truncated: bool,
}

impl Capture {
    /// Where to write to it.
    pub(crate) fn sink(&self) -> Sink {
        let capture = self.clone();
        sink_to(move |bytes| capture.push(bytes))
    }

    fn take(&self) -> Kept {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_CAPTURE - kept.bytes.len();
        kept.truncated |= bytes.len() > room;
        kept.bytes.extend(bytes.iter().take(room));
    }
}

/// Both streams of a command in one encoding: text where both are, base64 otherwise.
pub(super) fn captured(stdout: &Capture, stderr: &Capture) -> (Captured, Captured) {
    let (stdout, stderr) = (stdout.take(), stderr.take());
    let text = |kept: &Kept| whole_text(kept).map(str::to_owned);
    match (text(&stdout), text(&stderr)) {
        (Some(out), Some(err)) => (plain(out, &stdout), plain(err, &stderr)),
        _ => (encoded(&stdout), encoded(&stderr)),
    }
}

fn plain(text: String, kept: &Kept) -> Captured {
    Captured { text, base64: false, truncated: kept.truncated }
}

fn encoded(kept: &Kept) -> Captured {
    Captured { text: STANDARD.encode(&kept.bytes), base64: true, truncated: kept.truncated }
}

/// The bytes as text; a character that was cut in two at the limit is left out.
fn whole_text(kept: &Kept) -> Option<&str> {
    match std::str::from_utf8(&kept.bytes) {
        Ok(text) => Some(text),
        Err(e) if kept.truncated && e.error_len().is_none() => {
            std::str::from_utf8(&kept.bytes[..e.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(parts: &[&[u8]]) -> Capture {
        let capture = Capture::default();
        parts.iter().for_each(|part| capture.push(part));
        capture
    }

    #[test]
    fn one_stream_that_is_no_text_makes_both_base64() {
        let (out, err) = captured(&capture(&[b"a", b"b"]), &capture(&[b"c"]));
        assert_eq!((out.text.as_str(), out.base64, err.text.as_str()), ("ab", false, "c"));
        let (out, err) = captured(&capture(&[b"a"]), &capture(&[&[0xff]]));
        assert_eq!((out.text.as_str(), out.base64, err.text.as_str()), ("YQ==", true, "/w=="));
    }

    #[test]
    fn what_is_too_much_is_dropped_and_said() {
        let most = vec![b'x'; MAX_CAPTURE - 1];
        let (out, _) = captured(&capture(&[&most, "ä".as_bytes()]), &capture(&[]));
        assert!(out.truncated && !out.base64);
        assert_eq!(out.text.len(), MAX_CAPTURE - 1);
        let (out, _) = captured(&capture(&[&most, b"x"]), &capture(&[]));
        assert!(!out.truncated);
    }
}
