//! A device that does what a test wants, and remembers what was done to it.

use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use crate::testing::{DriverQueue, MmioDriver, memory};
use crate::virtio::config_space;
use crate::virtio::device::{
    Activation, Counters, DeviceError, DeviceType, Interrupt, VirtioDevice,
};

pub(super) const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
pub(super) const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// A feature of the device.
pub(super) const ODD: u64 = 1 << 5;
pub(super) const SIZES: [u16; 2] = [8, 16];

/// What was done to the device.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) queues: Option<Vec<Queue>>,
    pub(super) features: u64,
    pub(super) interrupt: Option<Arc<dyn Interrupt>>,
    pub(super) kicks: Vec<usize>,
    pub(super) config: Vec<u8>,
    /// What kicks and the host's events come to.
    pub(super) fails: Option<DeviceError>,
}

pub(super) struct Probe(pub(super) Arc<Mutex<Seen>>);

impl VirtioDevice for Probe {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn name(&self) -> String {
        "probe".to_owned()
    }

    fn features(&self) -> u64 {
        VERSION_1 | EVENT_IDX | ODD
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        config_space::read(&self.0.lock().unwrap().config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let config = &mut self.0.lock().unwrap().config;
        let at = offset as usize;
        if let Some(there) = config.get_mut(at..at + data.len()) {
            there.copy_from_slice(data);
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let Activation { queues, features, interrupt, .. } = activation;
        if !queues[0].ready() {
            return Err(DeviceError::QueueMissing { queue: 0 });
        }
        let mut seen = self.0.lock().unwrap();
        (seen.queues, seen.features, seen.interrupt) = (Some(queues), features, Some(interrupt));
        Ok(())
    }

    fn reset(&mut self) {
        let mut seen = self.0.lock().unwrap();
        (seen.queues, seen.interrupt) = (None, None);
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        let mut seen = self.0.lock().unwrap();
        seen.kicks.push(queue);
        seen.fails.map_or(Ok(()), Err)
    }

    fn host_ready(&mut self, _event: usize) -> Result<(), DeviceError> {
        self.0.lock().unwrap().fails.map_or(Ok(()), Err)
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A guest with a driver for a probe.
pub(super) struct Guest {
    pub(super) memory: GuestMemoryMmap,
    pub(super) driver: MmioDriver,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Guest {
    pub(super) fn new() -> Self {
        let memory = memory(0x1_0000);
        let seen = Arc::default();
        let driver = MmioDriver::new(Box::new(Probe(Arc::clone(&seen))), &memory).unwrap();
        Self { memory, driver, seen }
    }

    pub(super) fn queues(&self) -> [DriverQueue<'_>; 2] {
        [
            DriverQueue::new(&self.memory, 0x1000, SIZES[0]),
            DriverQueue::new(&self.memory, 0x2000, SIZES[1]),
        ]
    }

    /// A guest whose device is at work.
    pub(super) fn live() -> Self {
        let guest = Self::new();
        guest.bring_up();
        guest
    }

    pub(super) fn bring_up(&self) {
        let queues = self.queues();
        assert!(self.driver.bring_up(VERSION_1 | EVENT_IDX, &queues.each_ref()));
    }

    pub(super) fn kicks(&self) -> Vec<usize> {
        std::mem::take(&mut self.seen.lock().unwrap().kicks)
    }

    pub(super) fn is_active(&self) -> bool {
        self.seen.lock().unwrap().queues.is_some()
    }
}
