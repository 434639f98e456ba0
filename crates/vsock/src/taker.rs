//! Sinks that take what comes at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::Sink;

struct Taker<F>(F);

/// A sink that gives all that is written to it to `take`, which must not block, and that never
/// makes its writer wait.
pub fn sink_to(take: impl FnMut(&[u8]) + Send + Unpin + 'static) -> Sink {
    Box::new(Taker(take))
}

impl<F: FnMut(&[u8]) + Unpin> AsyncWrite for Taker<F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        (self.0)(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
