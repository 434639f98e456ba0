//! Keys by which a terminal leaves what goes on without it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// Ctrl-], which leaves a console. Programs have uses for it, so it does not leave a run.
const LEAVE: u8 = 0x1d;
/// Ctrl-P, and after it
const FIRST: u8 = 0x10;
/// Ctrl-Q.
const SECOND: u8 = 0x11;

/// What is typed, up to the keys to leave by: its end.
#[derive(Debug)]
pub(crate) struct UntilDetached<R> {
    source: R,
    keys: DetachKeys,
}

/// What was typed of the keys to leave by.
#[derive(Debug, Default)]
struct DetachKeys {
    /// Whether Ctrl-] is one.
    alone: bool,
    /// A Ctrl-P that was not passed on yet.
    held: bool,
    left: bool,
}

impl<R> UntilDetached<R> {
    /// Up to Ctrl-] or Ctrl-P Ctrl-Q.
    pub(crate) fn new(source: R) -> Self {
        Self { source, keys: DetachKeys { alone: true, ..DetachKeys::default() } }
    }
}

/// What is typed to a run, which Ctrl-P Ctrl-Q leave. It does not end by that: the command's
/// input goes on.
#[derive(Debug)]
pub(crate) struct UntilLeft<R> {
    typed: UntilDetached<R>,
    left: Arc<Notify>,
}

impl<R> UntilLeft<R> {
    /// Tells `left` when it is left.
    pub(crate) fn new(source: R, left: Arc<Notify>) -> Self {
        Self { typed: UntilDetached { source, keys: DetachKeys::default() }, left }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilLeft<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = buf.filled().len();
            let read = ready!(Pin::new(&mut self.typed).poll_read(cx, buf));
            if !self.typed.keys.left || buf.filled().len() != before {
                return Poll::Ready(read);
            }
            // Where it cannot be left, what is typed after that is the command's again.
            self.typed.keys.left = false;
            self.left.notify_one();
        }
    }
}

impl DetachKeys {
    /// What of it is passed on.
    fn take(&mut self, typed: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (std::mem::take(&mut self.held), *key) {
                (_, LEAVE) if self.alone => {
                    self.left = true;
                    break;
                }
                (true, SECOND) => {
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
        check_keys(DetachKeys { alone: true, ..DetachKeys::default() }, typed, passed, left);
    }

    fn check_keys(mut keys: DetachKeys, typed: &[&[u8]], passed: &[u8], left: bool) {
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

    #[test]
    fn a_run_is_left_by_two_keys_only() {
        let check = |typed: &[u8], passed: &[u8], left| {
            check_keys(DetachKeys::default(), &[typed], passed, left);
        };
        check(b"a\x1db", b"a\x1db", false);
        check(b"\x10\x1d", b"\x10\x1d", false);
        check(b"a\x10\x11b", b"a", true);
    }

    #[tokio::test]
    async fn a_run_that_is_left_gets_no_end_of_input() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let left = Arc::new(Notify::new());
        let (mut terminal, typed) = tokio::io::duplex(64);
        terminal.write_all(b"ab\x10\x11").await.unwrap();
        let mut keys = UntilLeft::new(typed, left.clone());
        let mut seen = [0; 64];
        assert_eq!(keys.read(&mut seen).await.unwrap(), 2);
        tokio::select! {
            biased;
            read = keys.read(&mut seen) => panic!("more was typed: {read:?}"),
            () = left.notified() => {}
        }
        terminal.write_all(b"c").await.unwrap();
        assert_eq!(keys.read(&mut seen).await.unwrap(), 1);
    }
}
