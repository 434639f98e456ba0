//! Keys by which a terminal leaves a console that goes on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Ctrl-].
const LEAVE: u8 = 0x1d;
/// Ctrl-P, and after it
const FIRST: u8 = 0x10;
/// Ctrl-Q.
const SECOND: u8 = 0x11;

/// What is typed, up to Ctrl-] or Ctrl-P Ctrl-Q.
#[derive(Debug)]
pub(super) struct UntilDetached<R> {
    source: R,
    keys: DetachKeys,
}

/// What was typed of the keys to leave by.
#[derive(Debug, Default)]
struct DetachKeys {
    /// A Ctrl-P that was not passed on yet.
    held: bool,
    left: bool,
}

impl<R> UntilDetached<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, keys: DetachKeys::default() }
    }
}

impl DetachKeys {
    /// What of it is passed on.
    fn take(&mut self, typed: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (std::mem::take(&mut self.held), *key) {
                (_, LEAVE) | (true, SECOND) => {
                    self.left = true;
                    break;
                }
                (true, FIRST) => {
                    passed.push(FIRST);
                    self.held = true;
                }
                (false, FIRST) => self.held = true,
                (true, key) => passed.extend([FIRST, key]),
                (false, key) => passed.push(key),
            }
        }
        passed
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilDetached<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.keys.left {
            // One less than there is room for: a key that was held may come before it.
            let mut typed = [0; 1024];
            let room = buf.remaining().saturating_sub(1).min(typed.len());
            let mut typed = ReadBuf::new(typed.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut this.source).poll_read(cx, &mut typed))?;
            if typed.filled().is_empty() {
                break;
            }
            let passed = this.keys.take(typed.filled());
            if !passed.is_empty() {
                buf.put_slice(&passed);
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &[&[u8]], passed: &[u8], left: bool) {
        let mut keys = DetachKeys::default();
        let got: Vec<u8> = typed.iter().flat_map(|typed| keys.take(typed)).collect();
        assert_eq!((&got[..], keys.left), (passed, left), "{typed:?}");
    }

    #[test]
    fn both_ways_out_are_known_however_they_come() {
        check(&[b"ls\n"], b"ls\n", false);
        check(&[b"ab\x1dcd"], b"ab", true);
        check(&[b"ab\x10\x11cd"], b"ab", true);
        check(&[b"ab\x10", b"\x11"], b"ab", true);
        check(&[b"\x10a\x11"], b"\x10a\x11", false);
        check(&[b"\x10\x10\x11"], b"\x10", true);
        check(&[b"\x10", b"x"], b"\x10x", false);
    }
}
