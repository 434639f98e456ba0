//! Waiting for what has no event of its own.

use std::thread;
use std::time::{Duration, Instant};

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks again and again until `look` finds nothing wrong any more.
///
/// # Errors
/// What it found last, when `limit` has passed.
pub fn until<E>(limit: Duration, mut look: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(wrong) if Instant::now() >= deadline => return Err(wrong),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
