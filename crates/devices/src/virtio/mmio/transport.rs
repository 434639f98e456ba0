//! A device behind its registers.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::protocol::{CONFIG, CONFIG_GENERATION, DRIVER, INTERRUPT_ACK, INTERRUPT_STATUS, STATUS};
use super::queue_setup::{BadQueue, EventIdx};
use super::registers::{Effect, Registers};
use super::signal::Signal;
use crate::bus::BusDevice;
use crate::virtio::device::{Activation, Counters, DeviceError, VirtioDevice};

/// A device that a driver reaches by memory-mapped registers.
///
/// It is shared by the threads of vCPUs, which access its registers as a [`BusDevice`], and
/// the one that devices run on, which tells it of kicks and of the host. One lock holds the
/// registers and the device together; the reasons of interrupts are outside of it.
pub struct MmioTransport {
    memory: GuestMemoryMmap,
    signal: Arc<Signal>,
    state: Mutex<State>,
}

struct State {
    registers: Registers,
    device: Box<dyn VirtioDevice>,
    /// What the guest can repeat is logged once.
    complained: bool,
}

impl MmioTransport {
    /// Puts `device` behind registers. Writes to `irq` are interrupts of the guest.
    pub fn new(device: Box<dyn VirtioDevice>, memory: GuestMemoryMmap, irq: EventFd) -> Self {
        let kind = device.device_type() as u32;
        let registers = Registers::new(kind, device.features(), device.queue_sizes());
        let signal = Arc::new(Signal::new(irq));
        Self { memory, signal, state: Mutex::new(State { registers, device, complained: false }) }
    }

    /// What the device is called.
    pub fn name(&self) -> String {
        self.lock().device.name()
    }

    /// How many queues it has, used or not.
    pub fn queue_count(&self) -> usize {
        self.lock().registers.queues().len()
    }

    /// What the device has counted.
    pub fn counters(&self) -> Counters {
        self.lock().device.counters()
    }

    /// The driver has put buffers into a queue. Fine in every state and for every number.
    pub fn queue_kicked(&self, queue: usize) {
        self.kick(&mut self.lock(), queue);
    }

    /// Something happened to a descriptor of the host, by the number that
    /// [`MmioTransport::each_host_event`] gave it.
    pub fn host_ready(&self, event: usize) {
        let mut state = self.lock();
        if let Err(error) = state.device.host_ready(event) {
            self.give_up(&mut state, error);
        }
    }

    /// As [`VirtioDevice::owes_host`].
    pub fn owes_host(&self) -> bool {
        self.lock().device.owes_host()
    }

    /// Calls `watch` with each descriptor that the device wants to hear of, as
    /// [`VirtioDevice::host_events`] says, and its number.
    ///
    /// # Errors
    /// The first of `watch`.
    pub fn each_host_event<E>(
        &self,
        mut watch: impl FnMut(usize, BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = self.lock();
        let events = state.device.host_events();
        events.into_iter().enumerate().try_for_each(|(number, event)| watch(number, event))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, short of a bug; then the state is still the
        // best that there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_register(&self, register: u64) -> u32 {
        match register {
            INTERRUPT_STATUS => self.signal.reasons(),
            CONFIG_GENERATION => self.signal.generation(),
            _ => self.lock().registers.read(register),
        }
    }

    fn write_register(&self, register: u64, value: u32) {
        if register == INTERRUPT_ACK {
            return self.signal.acknowledge(value);
        }
        let mut state = self.lock();
        match state.registers.write(register, value) {
            Effect::Nothing => {}
            Effect::Reset => {
                state.device.reset();
                self.signal.reset();
            }
            Effect::Activate => self.activate(&mut state),
            Effect::Stop => state.device.reset(),
            Effect::Notify(queue) => self.kick(&mut state, queue),
        }
    }

    fn activate(&self, state: &mut State) {
        let activated =
            self.activation(&state.registers).and_then(|given| state.device.activate(given));
        if let Err(error) = activated {
            self.give_up(state, error);
        }
    }

    fn activation(&self, registers: &Registers) -> Result<Activation, DeviceError> {
        let features = registers.accepted();
        let event_idx = match features & 1 << VIRTIO_RING_F_EVENT_IDX {
            0 => EventIdx::Unused,
            _ => EventIdx::Used,
        };
        let queues = registers.queues().iter().enumerate().map(|(index, queue)| {
            let queue = queue.device_side(&self.memory, event_idx);
            queue.map_err(|BadQueue| DeviceError::BrokenQueue { queue: index })
        });
        Ok(Activation {
            memory: self.memory.clone(),
            queues: queues.collect::<Result<_, _>>()?,
            features,
            interrupt: Arc::clone(&self.signal) as _,
        })
    }

    fn kick(&self, state: &mut State, queue: usize) {
        if !state.registers.can_be_kicked(queue) {
            return;
        }
        if let Err(error) = state.device.queue_kicked(queue) {
            self.give_up(state, error);
        }
    }

    /// The device cannot go on: it stops at once, and the driver is told (2.1.2).
    fn give_up(&self, state: &mut State, error: DeviceError) {
        state.device.reset();
        // An inactive device has nothing to fail at that would matter to a driver.
        if !state.registers.is_live() {
            return;
        }
        if !std::mem::replace(&mut state.complained, true) {
            tracing::warn!(device = state.device.name(), %error, "device needs a reset");
        }
        state.registers.need_reset();
        self.signal.needs_reset();
    }
}

impl BusDevice for MmioTransport {
    /// Registers are read as 32 bits, the configuration in 1, 2, 4 or 8 bytes (4.2.2.1);
    /// anything else is zero.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if offset < CONFIG {
            if let Ok(word) = <&mut [u8; 4]>::try_from(data)
                && offset.is_multiple_of(4)
            {
                *word = self.read_register(offset).to_le_bytes();
            }
        } else if is_config_access(data.len()) {
            self.lock().device.read_config(offset - CONFIG, data);
        }
    }

    /// As for reads; anything else is ignored.
    fn write(&self, offset: u64, data: &[u8]) {
        if offset < CONFIG {
            if let Ok(&word) = <&[u8; 4]>::try_from(data)
                && offset.is_multiple_of(4)
            {
                self.write_register(offset, u32::from_le_bytes(word));
            }
        } else if is_config_access(data.len()) {
            let mut state = self.lock();
            // Before there is a driver there is nobody to write to it (3.1.1).
            if state.registers.read(STATUS) & DRIVER != 0 {
                state.device.write_config(offset - CONFIG, data);
            }
        }
    }
}

impl fmt::Debug for MmioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MmioTransport")
            .field("device", &state.device.name())
            .field("registers", &state.registers)
            .finish_non_exhaustive()
    }
}

fn is_config_access(len: usize) -> bool {
    matches!(len, 1 | 2 | 4 | 8)
}
