//! What holds the threads of a machine.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A gate that threads wait at while it is closed, as it is when it is made.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// How many threads are at it.
    waiting: usize,
    /// How long it was closed when it was opened last, by the host's time stamp counter.
    closed_for: u64,
}

impl Gate {
    /// Waits until it is open, and says how long that was, the same to all: what its opener
    /// gave.
    pub(crate) fn pass(&self) -> u64 {
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while !state.open {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.closed_for
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Opens it after it held all threads for `closed_for` steps of the host's time stamp
    /// counter.
    pub(crate) fn open(&self, closed_for: u64) {
        let mut state = self.lock();
        (state.open, state.closed_for) = (true, closed_for);
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Waits until so many threads are held, and says whether they are.
    pub(crate) fn wait_for(&self, threads: usize, within: Duration) -> bool {
        let state = self.lock();
        let waited =
            self.changed.wait_timeout_while(state, within, |state| state.waiting < threads);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting >= threads
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn threads_are_held_until_it_opens() {
        let gate = Arc::new(Gate::default());
        assert!(!gate.wait_for(1, Duration::ZERO));
        let threads = [0, 1].map(|_| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.pass())
        });
        assert!(gate.wait_for(2, PATIENCE));
        assert!(gate.is_closed());
        gate.open(7);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7);
        }
        gate.pass();
        gate.close();
        assert!(!gate.wait_for(1, Duration::ZERO));
    }
}
