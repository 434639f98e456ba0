//! What a command wrote to one stream: its beginning, and the digest of all of it.

use std::sync::{Arc, Mutex, PoisonError};

use microagent_workspace::{Sink, sink_to};
use sha2::{Digest, Sha256};

/// How much of a stream is kept to find a difference in, in bytes.
const MAX_KEPT: usize = 1 << 20;

/// What a command wrote to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Its beginning.
    pub(crate) kept: Vec<u8>,
    /// How long it was, in bytes.
    pub(crate) length: u64,
    /// SHA-256 of the whole, in lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// Takes a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    kept: Vec<u8>,
    length: u64,
    hash: Sha256,
}

impl Recorder {
    /// What was written to it until now; it is empty afterwards.
    pub(super) fn take(&self) -> Stream {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let Taken { kept, length, hash } = taken;
        Stream { kept, length, sha256: hex::encode(hash.finalize()) }
    }

    /// Where to write to it.
    pub(super) fn sink(&self) -> Sink {
        let recorder = self.clone();
        sink_to(move |bytes| recorder.push(bytes))
    }

    fn push(&self, bytes: &[u8]) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_KEPT - taken.kept.len();
        taken.kept.extend(bytes.iter().take(room));
        taken.length += bytes.len() as u64;
        taken.hash.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[&[u8]], kept: usize, length: u64, sha256: &str) {
        let sink = Recorder::default();
        parts.iter().for_each(|part| sink.push(part));
        let stream = sink.take();
        assert_eq!((stream.kept.len(), stream.length), (kept, length));
        assert!(stream.sha256.starts_with(sha256), "{}", stream.sha256);
        assert_eq!(sink.take().length, 0);
    }

    #[test]
    fn all_is_digested_and_the_beginning_kept() {
        check(&[], 0, 0, "e3b0c44298fc1c14");
        check(&[b"a", b"bc"], 3, 3, "ba7816bf8f01cfea");
        let million = vec![b'a'; 1_000_000];
        check(&[&million], 1_000_000, 1_000_000, "cdc76e5c9914fb92");
        check(&[&million, &million], MAX_KEPT, 2_000_000, "");
    }
}
