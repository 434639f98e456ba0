//! What the device works on, and what came of it.

use std::ops::BitOr;

use virtio_queue::Queue;

/// The queues of an active device.
#[derive(Debug)]
pub struct Queues<'q> {
    /// The queue whose buffers the device fills.
    pub rx: &'q mut Queue,
    /// The queue whose buffers the driver fills.
    pub tx: &'q mut Queue,
}

/// Which queues have buffers that were used, so that the driver may want to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// [`Queues::rx`].
    pub rx: bool,
    /// [`Queues::tx`].
    pub tx: bool,
}

impl BitOr for Used {
    type Output = Self;

    /// The queues of both.
    fn bitor(self, other: Self) -> Self {
        Self { rx: self.rx | other.rx, tx: self.tx | other.tx }
    }
}

/// What a bounded part of the work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All is done that can be done now.
    Done(Used),
    /// There is more.
    Unfinished(Used),
}
