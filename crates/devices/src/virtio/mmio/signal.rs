//! The interrupt of a device: its reasons, and the descriptor that raises it.
//!
//! All of it is atomic and outside of the transport's lock, so that an interrupt handler of
//! the guest never waits for a device at work.

use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

use super::protocol::{INTERRUPT_CONFIG, INTERRUPT_USED};
use crate::virtio::device::Interrupt;

/// Raises the interrupt of one device.
#[derive(Debug)]
pub(crate) struct Signal {
    reasons: AtomicU32,
    generation: AtomicU32,
    irq: EventFd,
}

impl Signal {
    pub(crate) fn new(irq: EventFd) -> Self {
        Self { reasons: AtomicU32::new(0), generation: AtomicU32::new(0), irq }
    }

    /// The reasons that the driver has not acknowledged.
    pub(crate) fn reasons(&self) -> u32 {
        self.reasons.load(Ordering::Acquire)
    }

    /// The driver has seen to these.
    pub(crate) fn acknowledge(&self, reasons: u32) {
        self.reasons.fetch_and(!reasons, Ordering::AcqRel);
    }

    /// How often the configuration changed, modulo 2^32.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Tells the driver that the device needs a reset (2.1.2).
    pub(crate) fn needs_reset(&self) {
        self.raise(INTERRUPT_CONFIG);
    }

    /// Forgets all reasons.
    pub(crate) fn reset(&self) {
        self.reasons.store(0, Ordering::Release);
    }

    fn raise(&self, reason: u32) {
        // The reason first: the driver looks at it when the interrupt comes. Always with an
        // interrupt, even where the reason stands already, so that one that was lost (a guest
        // that had it masked) does not silence the device for good.
        self.reasons.fetch_or(reason, Ordering::AcqRel);
        // Fails only where 2^64 interrupts are pending.
        let _ = self.irq.write(1);
    }
}

impl Interrupt for Signal {
    fn queue_used(&self, _queue: usize) {
        self.raise(INTERRUPT_USED);
    }

    fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.raise(INTERRUPT_CONFIG);
    }
}
