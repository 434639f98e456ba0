//! The reading half of a QMP connection, without events and with lines of bounded length.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

use super::Events;
use crate::limits::MAX_QMP_LINE;

/// How much is read at once, in bytes.
const CHUNK: usize = 8 << 10;

/// Passes on what is no event; what events tell goes to a channel.
///
/// Holds at most one line and one chunk, however fast the other side writes.
#[derive(Debug)]
pub(crate) struct Filter<R> {
    from: R,
    events: watch::Sender<Events>,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Lines to be passed on.
    out: Vec<u8>,
    /// How much of `out` was passed on.
    passed: usize,
}

impl<R> Filter<R> {
    /// Filters what comes `from` there.
    pub(crate) fn new(from: R, events: watch::Sender<Events>) -> Self {
        Self { from, events, line: Vec::new(), out: Vec::new(), passed: 0 }
    }

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + piece.len() > MAX_QMP_LINE {
                let what = format!("a line is longer than {MAX_QMP_LINE} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_of_line();
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) {
        let mut event = false;
        let line = &self.line;
        self.events.send_if_modified(|events| {
            let before = events.clone();
            event = events.note(line);
            *events != before
        });
        if !event {
            self.out.extend_from_slice(&self.line);
        }
        self.line.clear();
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Filter<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.passed == self.out.len() {
            self.out.clear();
            self.passed = 0;
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.from).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                // A line that was never ended is none.
                return Poll::Ready(Ok(()));
            }
            self.take(chunk.filled())?;
        }
        let rest = &self.out[self.passed..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.passed += len;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn filtered(parts: &[&[u8]]) -> (io::Result<String>, Events) {
        let (mut peer, from) = duplex(16 << 20);
        for part in parts {
            peer.write_all(part).await.unwrap();
        }
        drop(peer);
        let (events, told) = watch::channel(Events::default());
        let mut text = String::new();
        let read = Filter::new(from, events).read_to_string(&mut text).await;
        (read.map(|_| text), told.borrow().clone())
    }

    #[tokio::test]
    async fn events_are_told_and_not_passed_on() {
        let check = async |parts: &[&str], expect: &str, stops: u64| {
            let parts: Vec<_> = parts.iter().map(|p| p.as_bytes()).collect();
            let (text, events) = filtered(&parts).await;
            assert_eq!((text.unwrap().as_str(), events.stops), (expect, stops), "{parts:?}");
        };
        check(&[], "", 0).await;
        check(&["{\"return\":{}}\r\n"], "{\"return\":{}}\r\n", 0).await;
        check(&["{\"event\":\"STOP\"}\n{\"ret", "urn\":1}\n"], "{\"return\":1}\n", 1).await;
        check(&["{\"event\":\"ST", "OP\"}\n", "{\"event\":\"NEW\"}\nx\n"], "x\n", 1).await;
        check(&["{\"half\":"], "", 0).await;
        check(&["\n\n"], "\n\n", 0).await;
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error() {
        let (text, _) = filtered(&[&vec![b'x'; MAX_QMP_LINE + 1]]).await;
        assert_eq!(text.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_flood_of_events_takes_no_memory() {
        let flood = "{\"event\":\"STOP\"}\n".repeat(100_000);
        let (text, events) = filtered(&[flood.as_bytes(), b"end\n"]).await;
        assert_eq!((text.unwrap().as_str(), events.stops), ("end\n", 100_000));
    }
}
