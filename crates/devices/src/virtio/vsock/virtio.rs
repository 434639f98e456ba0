//! The device as a [`VirtioDevice`]: for a transport of our own, with its queues and memory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use super::device::Vsock;
use super::protocol::{QUEUE_RX, QUEUE_TX};
use super::queues::{Queues, Turn, Used};
use crate::virtio::again::Again;
use crate::virtio::config_space;
use crate::virtio::device::{
    Activation, Counters, DeviceError, DeviceType, Interrupt, VirtioDevice,
};

/// How many turns of both directions there are before other devices get theirs.
const TURNS: usize = 4;
/// Which of the host's events is the device's own wish to be called again.
const AGAIN: usize = 1;

/// A [`Vsock`] with the queues that a driver gave it. The third, for events (5.10.2), is never
/// used: connections end when their machine does.
#[derive(Debug)]
pub struct VirtioVsock {
    device: Vsock,
    again: Again,
    active: Option<Active>,
}

struct Active {
    memory: GuestMemoryMmap,
    rx: Queue,
    tx: Queue,
    interrupt: Arc<dyn Interrupt>,
}

impl VirtioVsock {
    /// Makes an inactive device.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn new(device: Vsock) -> io::Result<Self> {
        Ok(Self { device, again: Again::new()?, active: None })
    }

    fn process(&mut self) -> Result<(), DeviceError> {
        let Some(active) = &mut self.active else {
            self.device.notice_host();
            return Ok(());
        };
        let Active { memory, rx, tx, .. } = &mut *active;
        let mut all = Used::default();
        for left in (0..TURNS).rev() {
            let turn = self.device.turn(memory, Queues { rx: &mut *rx, tx: &mut *tx });
            let (Turn::Done(used) | Turn::Unfinished(used)) = turn;
            all = all | used;
            match turn {
                Turn::Done(_) => break,
                Turn::Unfinished(_) if left == 0 => self.again.ask(),
                Turn::Unfinished(_) => {}
            }
        }
        active.tell(all)?;
        active.check()
    }
}

impl VirtioDevice for VirtioVsock {
    fn device_type(&self) -> DeviceType {
        DeviceType::Socket
    }

    fn name(&self) -> String {
        "vsock".to_owned()
    }

    /// Streams need no feature of their own (5.10.3).
    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[256, 256, 64]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        config_space::read(self.device.config().read(0, 8), offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let mut queues = queues.into_iter().enumerate().map(|(index, queue)| {
            let missing = DeviceError::QueueMissing { queue: index };
            if queue.ready() { Ok(queue) } else { Err(missing) }
        });
        let mut next = |queue| queues.next().ok_or(DeviceError::QueueMissing { queue })?;
        let (rx, tx) = (next(QUEUE_RX)?, next(QUEUE_TX)?);
        self.active = Some(Active { memory, rx, tx, interrupt });
        Ok(())
    }

    /// What a host program wants of a driver that never was there is kept for the first one,
    /// which begins with a reset.
    fn reset(&mut self) {
        if self.active.take().is_some() {
            self.device.reset();
        }
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        if matches!(queue, QUEUE_RX | QUEUE_TX) { self.process() } else { Ok(()) }
    }

    fn host_events(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.device.as_fd(), self.again.as_fd()]
    }

    fn host_ready(&mut self, event: usize) -> Result<(), DeviceError> {
        if event == AGAIN {
            self.again.answered();
        }
        self.process()
    }

    fn owes_host(&self) -> bool {
        self.device.owes_host()
    }

    fn counters(&self) -> Counters {
        let metrics = self.device.metrics();
        Counters {
            chains: metrics.packets_from_guest + metrics.packets_to_guest,
            bytes_from_guest: metrics.bytes_from_guest,
            bytes_to_guest: metrics.bytes_to_guest,
            malformed: metrics.malformed,
        }
    }
}

impl Active {
    /// Tells the driver of what was used, where it wants to know.
    fn tell(&mut self, used: Used) -> Result<(), DeviceError> {
        let Self { memory, rx, tx, interrupt } = self;
        for (index, queue, used) in [(QUEUE_RX, rx, used.rx), (QUEUE_TX, tx, used.tx)] {
            let broken = |_| DeviceError::BrokenQueue { queue: index };
            if used && queue.needs_notification(memory).map_err(broken)? {
                interrupt.queue_used(index);
            }
        }
        Ok(())
    }

    /// Whether the driver says of a queue that it has more chains than it can have (2.7.6);
    /// [`Vsock::process`] takes none of them.
    fn check(&self) -> Result<(), DeviceError> {
        for (index, queue) in [(QUEUE_RX, &self.rx), (QUEUE_TX, &self.tx)] {
            let broken = DeviceError::BrokenQueue { queue: index };
            let end = queue.avail_idx(&self.memory, Ordering::Acquire).map_err(|_| broken)?;
            if end.0.wrapping_sub(queue.next_avail()) > queue.size() {
                return Err(broken);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active").field("rx", &self.rx).field("tx", &self.tx).finish_non_exhaustive()
    }
}
