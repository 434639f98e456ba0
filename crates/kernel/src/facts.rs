//! What reading all of a kernel file shows.

use std::fs::File;
use std::io::{self, Read, Seek};

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Larger than the read-ahead of a disk, smaller than a processor's second-level cache.
const CHUNK: usize = 256 * 1024;

/// What an uncompressed kernel holds that can be told of its devices by arguments: the name
/// of the parameter, and what it prints of the table in which it then finds its processors
/// and interrupts. In a compressed kernel neither is to be seen.
const DEVICE_ARGUMENTS: [&[u8]; 2] = [b"virtio_mmio.device", b"MPTABLE: "];

/// What reading all of a kernel file shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    /// Its SHA-256, in lower-case hexadecimal.
    pub(crate) sha256: String,
    /// Whether it shows that it can be told of its devices by arguments.
    pub(crate) device_arguments: bool,
}

impl Facts {
    /// Reads all of `file`.
    pub(crate) fn of(file: &mut File) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut searches = DEVICE_ARGUMENTS.map(Search::new);
        let mut chunk = vec![0; CHUNK];
        file.rewind()?;
        loop {
            let read = match file.read(&mut chunk)? {
                0 => break,
                read => &chunk[..read],
            };
            hasher.update(read);
            searches.iter_mut().for_each(|search| search.read(read));
        }
        let sha256 = hex::encode(hasher.finalize());
        Ok(Self { sha256, device_arguments: searches.iter().all(|search| search.found) })
    }
}

/// A search for a text in what is read piece by piece.
struct Search {
    finder: Finder<'static>,
    /// The end of what was read: the text may begin in it.
    tail: Vec<u8>,
    found: bool,
}

impl Search {
    fn new(text: &'static [u8]) -> Self {
        Self { finder: Finder::new(text), tail: Vec::new(), found: false }
    }

    fn read(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        let keep = self.finder.needle().len() - 1;
        let (beginning, rest) = piece.split_at(piece.len().min(keep));
        self.tail.extend_from_slice(beginning);
        self.found = self.finder.find(&self.tail).or_else(|| self.finder.find(piece)).is_some();
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(keep)..]);
        self.tail.drain(..self.tail.len().saturating_sub(keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expect: bool) {
        let mut search = Search::new(b"needle");
        pieces.iter().for_each(|piece| search.read(piece.as_bytes()));
        assert_eq!(search.found, expect, "{pieces:?}");
    }

    #[test]
    fn a_text_is_found_across_pieces() {
        check(&["a needle"], true);
        check(&["needle"], true);
        check(&["a nee", "dle"], true);
        check(&["n", "e", "e", "d", "l", "e"], true);
        check(&["a long beginning n", "eedle and an end"], true);
        check(&["needl", "neeedle"], false);
        check(&["", "need", "", "le"], true);
        check(&["need", "ed", "le"], false);
        check(&[], false);
    }

    #[test]
    fn both_texts_are_wanted() {
        let check = |text: &str, expect| {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            assert_eq!(Facts::of(&mut file).unwrap().device_arguments, expect, "{text}");
        };
        check("", false);
        check("virtio_mmio.device", false);
        check("MPTABLE: Product", false);
        check("MPTABLE: Product\0virtio_mmio.device\0", true);
    }
}
