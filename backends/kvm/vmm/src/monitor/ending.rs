//! How the thread that takes requests hears of the machine's end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::EventfdFlags;

use super::gate::Gate;
use crate::vcpu::End;

/// The end of a machine, once it has ended.
#[derive(Debug)]
pub(crate) struct Ending {
    end: Mutex<Option<End>>,
    event: OwnedFd,
    gate: Arc<Gate>,
}

impl Ending {
    /// Of a machine whose threads `gate` holds.
    pub(crate) fn new(gate: Arc<Gate>) -> io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { end: Mutex::default(), event, gate })
    }

    /// Says that the machine has ended; the first to say so is believed. Closes the gate, so
    /// that every thread that comes to it from now on stays there.
    pub(crate) fn report(&self, end: End) {
        self.gate.close();
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        // Fails only where 2^64 ends are reported.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// How it ended.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Readable once the machine has ended.
impl AsFd for Ending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts() {
        let gate = Arc::new(Gate::default());
        gate.open(0);
        let ending = Ending::new(Arc::clone(&gate)).unwrap();
        assert_eq!(ending.end(), None);
        ending.report(End::Reset);
        ending.report(End::PowerOff);
        assert_eq!(ending.end(), Some(End::Reset));
        assert!(gate.is_closed());
    }
}
