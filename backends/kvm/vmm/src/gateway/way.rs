//! Frames on their way from one socket to another.

use microagent_devices::virtio::net::{FrameTooLong, MAX_FRAME};

/// Length of what precedes a frame, in bytes.
const PREFIX_LEN: usize = 4;
/// How much is on its way at once, in bytes: a few frames of the longest.
const BUFFER: usize = 256 << 10;

const _: () = assert!(BUFFER >= PREFIX_LEN + MAX_FRAME);

/// Frames that came from one socket and have not gone into the other. Whoever sends waits
/// while they are too many.
#[derive(Debug)]
pub(crate) struct Way {
    buffer: Box<[u8]>,
    /// Up to here it is gone.
    sent: usize,
    /// Up to here are whole frames that may go.
    checked: usize,
    /// Up to here is the beginning of the next.
    filled: usize,
}

impl Way {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), sent: 0, checked: 0, filled: 0 }
    }

    /// Where what comes next belongs; empty while there is no room.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Whether there is room.
    pub(crate) fn has_room(&self) -> bool {
        self.filled < self.buffer.len()
    }

    /// Takes note that `len` bytes of [`Way::room`] were filled, and keeps of the frames that
    /// are whole by now those that `lets` through.
    ///
    /// # Errors
    /// What follows cannot be told from a frame that is too long.
    pub(crate) fn take(
        &mut self,
        len: usize,
        mut lets: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), FrameTooLong> {
        self.filled = self.buffer.len().min(self.filled.saturating_add(len));
        let (mut from, mut to) = (self.checked, self.checked);
        while let Some(whole) = self.whole_frame(from)? {
            if lets(&self.buffer[from + PREFIX_LEN..from + whole]) {
                if from != to {
                    self.buffer.copy_within(from..from + whole, to);
                }
                to += whole;
            }
            from += whole;
        }
        if from != to {
            self.buffer.copy_within(from..self.filled, to);
            self.filled -= from - to;
        }
        self.checked = to;
        self.make_room();
        Ok(())
    }

    /// Adds a frame of the caller's own behind those that are whole. Where there is no room for
    /// it, it is lost, as frames may be.
    pub(crate) fn add(&mut self, frame: &[u8]) {
        let whole = PREFIX_LEN + frame.len();
        if frame.len() > MAX_FRAME || self.buffer.len() - self.filled < whole {
            return;
        }
        let from = self.checked;
        self.buffer.copy_within(from..self.filled, from + whole);
        let prefix = (frame.len() as u32).to_be_bytes();
        self.buffer[from..from + PREFIX_LEN].copy_from_slice(&prefix);
        self.buffer[from + PREFIX_LEN..from + whole].copy_from_slice(frame);
        self.checked += whole;
        self.filled += whole;
    }

    /// Length of the frame that begins there, with what precedes it, if it is whole.
    fn whole_frame(&self, from: usize) -> Result<Option<usize>, FrameTooLong> {
        let held = &self.buffer[from..self.filled];
        let Some(prefix) = held.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        if len as usize > MAX_FRAME {
            return Err(FrameTooLong(len));
        }
        let whole = PREFIX_LEN + len as usize;
        Ok((whole <= held.len()).then_some(whole))
    }

    /// What is to go next.
    pub(crate) fn output(&self) -> &[u8] {
        &self.buffer[self.sent..self.checked]
    }

    /// Takes note that the first `len` bytes of [`Way::output`] are gone.
    pub(crate) fn note_sent(&mut self, len: usize) {
        self.sent = self.checked.min(self.sent + len);
        self.make_room();
    }

    fn make_room(&mut self) {
        if self.sent == self.checked && self.sent > 0 {
            self.buffer.copy_within(self.checked..self.filled, 0);
            self.filled -= self.checked;
            (self.sent, self.checked) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frame: &[u8]) -> Vec<u8> {
        [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
    }

    /// Passes a stream in pieces of this size, and what gets through comes out in pieces of
    /// another.
    fn passed(stream: &[u8], piece: usize, out: usize) -> Result<Vec<u8>, FrameTooLong> {
        let (mut way, mut got, mut at) = (Way::new(), Vec::new(), 0);
        while at < stream.len() || !way.output().is_empty() {
            let room = way.room();
            let len = room.len().min(piece).min(stream.len() - at);
            room[..len].copy_from_slice(&stream[at..at + len]);
            way.take(len, |frame| frame.first() != Some(&0))?;
            at += len;
            let len = way.output().len().min(out);
            got.extend_from_slice(&way.output()[..len]);
            way.note_sent(len);
        }
        Ok(got)
    }

    #[test]
    fn frames_pass_whole_and_in_order_however_they_come() {
        let frames: Vec<_> = (0..40u8)
            .map(|n| vec![n % 3; usize::from(n) * 1700 % MAX_FRAME])
            .chain([vec![], vec![1; MAX_FRAME], vec![0; MAX_FRAME], vec![2; 14]])
            .collect();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        let let_through = frames.iter().filter(|frame| frame.first() != Some(&0));
        let expect: Vec<u8> = let_through.flat_map(|frame| framed(frame)).collect();
        for (piece, out) in [(BUFFER, BUFFER), (1, BUFFER), (7000, 3), (70_000, 9999), (BUFFER, 1)]
        {
            let got = passed(&stream, piece, out).unwrap();
            assert!(got == expect, "{piece} {out}: {} of {}", got.len(), expect.len());
        }
    }

    #[test]
    fn a_frame_of_its_own_goes_between_two_others() {
        let mut way = Way::new();
        let (first, second, own) = (framed(&[1; 60]), framed(&[2; 70]), [3; 54]);
        let stream = [first.clone(), second.clone()].concat();
        way.room()[..100].copy_from_slice(&stream[..100]);
        way.take(100, |_| true).unwrap();
        way.add(&own);
        let rest = stream.len() - 100;
        way.room()[..rest].copy_from_slice(&stream[100..]);
        way.take(rest, |_| true).unwrap();
        assert!(way.output() == [first, framed(&own), second].concat());
    }

    #[test]
    fn a_frame_of_its_own_is_lost_where_there_is_no_room() {
        let mut way = Way::new();
        for _ in 0..BUFFER {
            way.add(&[1; 54]);
        }
        assert_eq!(way.output().len(), BUFFER / 58 * 58);
        way.note_sent(BUFFER);
        way.add(&vec![1; MAX_FRAME + 1]);
        assert!(way.output().is_empty());
    }

    #[test]
    fn a_frame_that_is_too_long_ends_it() {
        let stream = (MAX_FRAME as u32 + 1).to_be_bytes();
        assert_eq!(passed(&stream, 9, 9), Err(FrameTooLong(MAX_FRAME as u32 + 1)));
        assert_eq!(passed(&[0xff; 9], 9, 9), Err(FrameTooLong(u32::MAX)));
    }

    #[test]
    fn whoever_does_not_take_makes_the_other_wait() {
        let mut way = Way::new();
        let frame = framed(&[1; 60_000]);
        while way.has_room() {
            let room = way.room();
            let len = room.len().min(frame.len());
            room[..len].copy_from_slice(&frame[..len]);
            way.take(len, |_| true).unwrap();
        }
        assert_eq!(way.output().len(), 4 * frame.len());
        way.note_sent(4 * frame.len());
        assert!(way.has_room());
    }
}
