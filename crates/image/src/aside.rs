//! Blocking calls that must not hold up the runtime, nor its end.

use std::time::Duration;

use crate::{ImageError, Result};

/// Runs `call` on a thread of its own and waits for it, at most for `limit`.
///
/// Not the runtime's pool: a runtime that is dropped waits for that pool, and then a lock
/// that is never granted or a helper that hangs would keep the program from ending.
pub(crate) async fn aside<T: Send + 'static>(
    what: &str,
    limit: Duration,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let late = || ImageError::Timeout { what: what.to_owned(), limit };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("image-aside".to_owned())
        .spawn(move || {
            // Nobody listens any more after the deadline, and then the result is dropped.
            let _ = sender.send(call());
        })
        .map_err(|source| ImageError::io("start a thread for", what.as_ref(), source))?;
    match tokio::time::timeout(limit, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(late()),
    }
}
