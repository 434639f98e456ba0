//! Locks that are waited for, no longer than a while.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often is looked whether a lock is free. The system has no call that waits for one and
/// gives up in time, and a thread that waits cannot be called back: it would keep the program
/// from ending.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Takes a file's lock as soon as that is free; whether it was within `limit`.
///
/// # Errors
/// What locking meets.
pub(crate) async fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => sleep(LOOK_EVERY).await,
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_had_when_it_is_free_and_given_up_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (held, wanted) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        held.lock().unwrap();
        assert!(!lock_within(&wanted, Duration::from_millis(20)).await.unwrap());
        let (had, ()) = tokio::join!(lock_within(&wanted, Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert!(had.unwrap());
    }
}
