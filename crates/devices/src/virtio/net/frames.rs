//! Frames out of a stream of bytes: each follows its length, 4 bytes in network order.

use super::protocol::MAX_FRAME;

/// Length of what precedes a frame, in bytes.
pub(crate) const PREFIX_LEN: usize = 4;
/// How much of the stream is kept, in bytes: a few frames of the longest, many of the usual,
/// so that one system call gets all of them.
const BUFFER: usize = 256 << 10;

const _: () = assert!(BUFFER >= PREFIX_LEN + MAX_FRAME);

/// The frames of a stream, as far as it has come.
#[derive(Debug)]
pub struct Frames {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// A frame that is longer than any may be: what follows cannot be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the host has {0} bytes, expected at most {MAX_FRAME}")]
pub struct FrameTooLong(pub u32);

impl Default for Frames {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER].into(), start: 0, end: 0 }
    }
}

impl Frames {
    /// The next frame, if it has come whole. It stays the next one until it is consumed.
    ///
    /// # Errors
    /// There is no way on.
    pub fn peek(&self) -> Result<Option<&[u8]>, FrameTooLong> {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((prefix, rest)) = held.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        if len as usize > MAX_FRAME {
            return Err(FrameTooLong(len));
        }
        Ok(rest.get(..len as usize))
    }

    /// Drops the next frame, if it has come whole.
    pub fn consume(&mut self) {
        if let Ok(Some(frame)) = self.peek() {
            self.start += PREFIX_LEN + frame.len();
        }
    }

    /// Where what comes next belongs: not empty as long as no whole frame is there.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < PREFIX_LEN + MAX_FRAME {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Takes note that the first `len` bytes of [`Frames::room`] were filled.
    pub fn filled(&mut self, len: usize) {
        self.end = self.buffer.len().min(self.end.saturating_add(len));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn feed(frames: &mut Frames, mut bytes: &[u8]) -> usize {
        let room = frames.room();
        let len = bytes.len().min(room.len());
        (bytes, _) = bytes.split_at(len);
        room[..len].copy_from_slice(bytes);
        frames.filled(len);
        len
    }

    fn drain(frames: &mut Frames) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut all = Vec::new();
        while let Some(frame) = frames.peek()? {
            all.push(frame.to_vec());
            frames.consume();
        }
        Ok(all)
    }

    #[test]
    fn what_has_come_so_far() {
        let check = |bytes: &[u8], expect: Result<&[&[u8]], u32>| {
            let mut frames = Frames::default();
            feed(&mut frames, bytes);
            let expect = expect.map_err(FrameTooLong);
            let expect = expect.map(|all| all.iter().map(|f| f.to_vec()).collect::<Vec<_>>());
            assert_eq!(drain(&mut frames), expect, "{bytes:?}");
        };
        check(&[], Ok(&[]));
        check(&[0, 0, 0], Ok(&[]));
        check(&[0, 0, 0, 1], Ok(&[]));
        check(&[0, 0, 0, 1, 7], Ok(&[&[7]]));
        check(&[0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0], Ok(&[&[], &[1, 2]]));
        check(&[0, 1, 0, 18], Err(0x1_0012));
        check(&[0xff; 9], Err(u32::MAX));
        check(&[0, 1, 0, 17], Ok(&[]));
    }

    proptest! {
        #[test]
        fn frames_however_they_come(
            sizes in proptest::collection::vec(0usize..=MAX_FRAME, 1..12),
            cuts in proptest::collection::vec(1usize..300_000, 1..40), seed: u8,
        ) {
            let frame = |(n, len): (usize, &usize)| vec![seed.wrapping_add(n as u8); *len];
            let sent: Vec<_> = sizes.iter().enumerate().map(frame).collect();
            let framed = sent.iter().map(|f| [&(f.len() as u32).to_be_bytes()[..], f].concat());
            let stream = framed.collect::<Vec<_>>().concat();
            let (mut frames, mut got, mut at) = (Frames::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let fed = feed(&mut frames, &stream[at..stream.len().min(at + cut)]);
                at += fed;
                got.extend(drain(&mut frames).unwrap());
                if at == stream.len() {
                    break;
                }
                assert!(fed > 0, "there is always room");
            }
            assert_eq!(got, sent);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = Frames::default();
            feed(&mut frames, &bytes);
            let _ = drain(&mut frames);
        }
    }
}
