//! What a device is activated with when there is no transport.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use crate::virtio::device::{Activation, Interrupt, VirtioDevice};

use super::DriverQueue;

/// What `device` is activated with by a driver that accepts `features` and uses `queues`, in
/// the order of the device; `None` and those at the end that are missing are not ready.
///
/// # Panics
/// If a queue is longer than the device allows.
pub fn activation(
    device: &dyn VirtioDevice,
    memory: &GuestMemoryMmap,
    features: u64,
    queues: &[Option<&DriverQueue<'_>>],
    interrupt: &Arc<Recorder>,
) -> Activation {
    let event_idx = features & 1 << virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX != 0;
    let sizes = device.queue_sizes().iter().enumerate();
    let queues = sizes.map(|(index, &max)| match queues.get(index).copied().flatten() {
        Some(driver) => {
            let mut queue = driver.device_side();
            assert!(queue.size() <= max, "queue {index} is longer than {max}");
            queue.set_event_idx(event_idx);
            queue
        }
        None => Queue::new(max).expect("the size of a device's queue is one that can be"),
    });
    Activation {
        memory: memory.clone(),
        queues: queues.collect(),
        features,
        interrupt: Arc::clone(interrupt) as _,
    }
}

/// Counts interrupts.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    used: HashMap<usize, u32>,
    config: u32,
}

impl Recorder {
    /// One that has seen none.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How often the driver was told of this queue since this was last asked.
    pub fn take_used(&self, queue: usize) -> u32 {
        self.lock().used.remove(&queue).unwrap_or_default()
    }

    /// How often it was told of the configuration since this was last asked.
    pub fn take_config(&self) -> u32 {
        std::mem::take(&mut self.lock().config)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for Recorder {
    fn queue_used(&self, queue: usize) {
        *self.lock().used.entry(queue).or_default() += 1;
    }

    fn config_changed(&self) {
        self.lock().config += 1;
    }
}
