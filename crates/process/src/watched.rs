//! Descriptors that the runtime watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor until there is something to read from it.
///
/// # Errors
/// What registering it meets.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // What makes this constructor deprecated is that it takes types that may close their
    // descriptor or exchange it for another; this one does neither. What is to replace it
    // is unsafe, and as of tokio 1.54 nothing else is offered.
    #[allow(deprecated)]
    AsyncFd::with_interest(fd, Interest::READABLE)
}
