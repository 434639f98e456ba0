//! The registers of a device, and which of them a driver may write when (virtio 1.2, 2.1, 3.1
//! and 4.2.2). Nothing here touches memory or the device: a write tells what is to be done.
//!
//! A write at the wrong time is ignored, as the specification lets a device do; no driver in
//! its senses sees the difference.

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;

use super::protocol as p;
use super::queue_setup::QueueSetup;

/// What a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing more.
    Nothing,
    /// The device forgets its driver.
    Reset,
    /// The device begins to work.
    Activate,
    /// The device stops, and waits for a reset.
    Stop,
    /// This queue has new buffers.
    Notify(usize),
}

/// Where a device is in its life with a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The driver has not said that it is ready.
    SetUp,
    /// It has.
    Live,
    /// One of them gave up, until a reset.
    Stopped,
}

/// The registers that a driver writes.
#[derive(Debug)]
pub(crate) struct Registers {
    device_type: u32,
    offered: u64,
    status: u32,
    phase: Phase,
    device_features_sel: u32,
    driver_features_sel: u32,
    accepted: u64,
    /// Whether the driver accepted a feature above the 64 that there are at all.
    accepted_unknown: bool,
    queue_sel: u32,
    queues: Vec<QueueSetup>,
}

impl Registers {
    pub(crate) fn new(device_type: u32, offered: u64, queue_sizes: &[u16]) -> Self {
        Self {
            device_type,
            offered,
            status: 0,
            phase: Phase::SetUp,
            device_features_sel: 0,
            driver_features_sel: 0,
            accepted: 0,
            accepted_unknown: false,
            queue_sel: 0,
            queues: queue_sizes.iter().map(|&max| QueueSetup::new(max)).collect(),
        }
    }

    /// Whether the device is at work.
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// The features that the driver accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The queues as the driver set them up.
    pub(crate) fn queues(&self) -> &[QueueSetup] {
        &self.queues
    }

    /// Whether the driver may kick this queue.
    pub(crate) fn can_be_kicked(&self, queue: usize) -> bool {
        self.is_live() && self.queues.get(queue).is_some_and(QueueSetup::is_ready)
    }

    /// Takes note that the device cannot go on (2.1.2).
    pub(crate) fn need_reset(&mut self) {
        self.status |= p::NEEDS_RESET;
        self.phase = Phase::Stopped;
    }

    /// Reads a register. Those that a driver only writes, and those that do not exist, are
    /// zero; those of interrupts and of the configuration are not here.
    pub(crate) fn read(&self, register: u64) -> u32 {
        match register {
            p::MAGIC_VALUE => p::MAGIC,
            p::VERSION => p::VERSION_2,
            p::DEVICE_ID => self.device_type,
            p::VENDOR_ID => p::VENDOR,
            p::DEVICE_FEATURES => match self.device_features_sel {
                0 => self.offered as u32,
                1 => (self.offered >> 32) as u32,
                _ => 0,
            },
            p::QUEUE_NUM_MAX => self.selected().map_or(0, |queue| queue.max_size().into()),
            p::QUEUE_READY => self.selected().map_or(0, |queue| queue.is_ready().into()),
            p::STATUS => self.status,
            p::SHM_LEN_LOW..=p::SHM_BASE_HIGH => p::NO_REGION,
            _ => 0,
        }
    }

    /// Writes a register. Those that a driver only reads, and those that do not exist, stay as
    /// they are.
    pub(crate) fn write(&mut self, register: u64, value: u32) -> Effect {
        match register {
            p::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            p::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            p::DRIVER_FEATURES => self.accept(value),
            p::QUEUE_SEL => self.queue_sel = value,
            p::QUEUE_NOTIFY => return Effect::Notify(value as usize),
            p::QUEUE_READY => return self.set_queue_ready(value),
            p::STATUS => return self.set_status(value),
            _ => {
                if self.may_set_up_queues()
                    && let Some(queue) = self.selected_mut()
                {
                    queue.write(register, value);
                }
            }
        }
        Effect::Nothing
    }

    fn selected(&self) -> Option<&QueueSetup> {
        self.queues.get(self.queue_sel as usize)
    }

    fn selected_mut(&mut self) -> Option<&mut QueueSetup> {
        self.queues.get_mut(self.queue_sel as usize)
    }

    /// Features come after `DRIVER` and before `FEATURES_OK` (3.1.1).
    fn accept(&mut self, value: u32) {
        if self.status & (p::DRIVER | p::FEATURES_OK) != p::DRIVER {
            return;
        }
        match self.driver_features_sel {
            0 => self.accepted = self.accepted & !0xffff_ffff | u64::from(value),
            1 => self.accepted = self.accepted & 0xffff_ffff | u64::from(value) << 32,
            _ => self.accepted_unknown |= value != 0,
        }
    }

    fn features_are_fine(&self) -> bool {
        let version_1 = 1 << VIRTIO_F_VERSION_1;
        self.accepted & !self.offered == 0
            && self.accepted & version_1 != 0
            && !self.accepted_unknown
    }

    /// Queues come after `FEATURES_OK` and before `DRIVER_OK` (3.1.1).
    fn may_set_up_queues(&self) -> bool {
        self.phase == Phase::SetUp && self.status & p::FEATURES_OK != 0
    }

    fn set_queue_ready(&mut self, value: u32) -> Effect {
        let (may_set_up, is_live) = (self.may_set_up_queues(), self.is_live());
        let Some(queue) = self.selected_mut() else { return Effect::Nothing };
        match value {
            1 if may_set_up => queue.make_ready(),
            // Whatever the phase: it is how a driver takes its memory back (4.2.2.2).
            0 if queue.is_ready() => {
                queue.take_back();
                // No device here can go on without one of its queues.
                if is_live {
                    self.phase = Phase::Stopped;
                    return Effect::Stop;
                }
            }
            _ => {}
        }
        Effect::Nothing
    }

    fn set_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            self.reset();
            return Effect::Reset;
        }
        let set_by_driver = self.status & !p::NEEDS_RESET;
        // Nothing is taken back but by a reset (2.1.1).
        if set_by_driver & !value != 0 {
            return Effect::Nothing;
        }
        let was_live = self.is_live();
        if value & p::FAILED != 0 {
            self.status |= p::FAILED;
            self.phase = Phase::Stopped;
            return if was_live { Effect::Stop } else { Effect::Nothing };
        }
        if self.phase != Phase::SetUp {
            return Effect::Nothing;
        }
        self.climb(value)
    }

    /// Sets the bits that follow upon each other, as far as they do.
    fn climb(&mut self, value: u32) -> Effect {
        for step in [p::ACKNOWLEDGE, p::DRIVER, p::FEATURES_OK, p::DRIVER_OK] {
            let is_new = self.status & step == 0;
            if value & step == 0 || is_new && step == p::FEATURES_OK && !self.features_are_fine() {
                return Effect::Nothing;
            }
            self.status |= step;
        }
        self.phase = Phase::Live;
        Effect::Activate
    }

    fn reset(&mut self) {
        let sizes: Vec<u16> = self.queues.iter().map(QueueSetup::max_size).collect();
        *self = Self::new(self.device_type, self.offered, &sizes);
    }
}
