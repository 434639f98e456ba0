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
    /// How many threads are held by it.
    held: usize,
    /// How often it was opened. A thread that was let go by that goes, however soon it is
    /// closed again: there may be something that it has to do before it is held once more.
    openings: u64,
    /// How long it was closed when it was opened last, by the host's time stamp counter.
    closed_for: u64,
}

impl Gate {
    /// Waits until it is opened, unless it is open, and says how long it was closed, which is
    /// the same to all: what its opener gave.
    pub(crate) fn pass(&self) -> u64 {
        let mut state = self.lock();
        if !state.open {
            state.held += 1;
            self.changed.notify_all();
            let before = state.openings;
            while state.openings == before {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.closed_for
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Opens it after it held all threads for `closed_for` steps of the host's time stamp
    /// counter.
    pub(crate) fn open(&self, closed_for: u64) {
        let mut state = self.lock();
        let openings = state.openings + 1;
        *state = State { open: true, held: 0, openings, closed_for };
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Waits until so many threads are held, and says whether they are.
    pub(crate) fn wait_for(&self, threads: usize, within: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, within, |state| state.held < threads);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.held >= threads
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

    #[test]
    fn a_thread_that_was_let_go_is_not_held_until_it_comes_again() {
        let gate = Arc::new(Gate::default());
        let thread = thread::spawn({
            let gate = Arc::clone(&gate);
            move || {
                let first = gate.pass();
                // It may be quicker than whoever closes it again.
                while !gate.is_closed() {
                    thread::yield_now();
                }
                [first, gate.pass()]
            }
        });
        assert!(gate.wait_for(1, PATIENCE));
        // Perhaps sooner than the thread can notice.
        gate.open(1);
        gate.close();
        assert!(gate.wait_for(1, PATIENCE));
        gate.open(2);
        assert_eq!(thread.join().unwrap()[1], 2);
    }
}
