//! A driver that reaches its device by the registers of the memory-mapped transport.

use std::io;

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::DriverQueue;
use crate::bus::BusDevice;
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::MmioTransport;
use crate::virtio::mmio::protocol as p;

/// A driver, and the transport of its device.
#[derive(Debug)]
pub struct MmioDriver {
    transport: MmioTransport,
    irq: EventFd,
}

impl MmioDriver {
    /// Puts `device` behind a transport. Nothing is written to it yet.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn new(device: Box<dyn VirtioDevice>, memory: &GuestMemoryMmap) -> io::Result<Self> {
        let irq = EventFd::new(EFD_NONBLOCK)?;
        let transport = MmioTransport::new(device, memory.clone(), irq.try_clone()?);
        Ok(Self { transport, irq })
    }

    /// The transport, as the thread that devices run on sees it.
    pub fn transport(&self) -> &MmioTransport {
        &self.transport
    }

    /// Reads a register.
    pub fn read(&self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.transport.read(register, &mut word);
        u32::from_le_bytes(word)
    }

    /// Writes a register.
    pub fn write(&self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    /// Reads `N` bytes of the configuration.
    pub fn read_config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.transport.read(p::CONFIG + offset, &mut bytes);
        bytes
    }

    /// The status of the device.
    pub fn status(&self) -> u32 {
        self.read(p::STATUS)
    }

    /// Resets the device.
    pub fn reset(&self) {
        self.write(p::STATUS, 0);
    }

    /// The features that the device offers.
    pub fn offered(&self) -> u64 {
        let half = |sel| {
            self.write(p::DEVICE_FEATURES_SEL, sel);
            u64::from(self.read(p::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    /// Accepts `features`, and says whether the device agrees.
    pub fn accept(&self, features: u64) -> bool {
        for status in [p::ACKNOWLEDGE, p::ACKNOWLEDGE | p::DRIVER] {
            self.write(p::STATUS, status);
        }
        for (sel, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(p::DRIVER_FEATURES_SEL, sel);
            self.write(p::DRIVER_FEATURES, half);
        }
        self.write(p::STATUS, p::ACKNOWLEDGE | p::DRIVER | p::FEATURES_OK);
        self.status() & p::FEATURES_OK != 0
    }

    /// Sets a queue up, and says whether it is ready.
    pub fn set_up_queue(&self, index: u32, queue: &DriverQueue<'_>) -> bool {
        self.write(p::QUEUE_SEL, index);
        self.write(p::QUEUE_NUM, queue.size().into());
        let registers = [p::QUEUE_DESC_LOW, p::QUEUE_DRIVER_LOW, p::QUEUE_DEVICE_LOW];
        for (low, address) in registers.into_iter().zip(queue.addresses()) {
            self.write(low, address as u32);
            self.write(low + 4, (address >> 32) as u32);
        }
        self.write(p::QUEUE_READY, 1);
        self.read(p::QUEUE_READY) == 1
    }

    /// Says that the driver is ready.
    pub fn start(&self) {
        self.write(p::STATUS, self.status() | p::DRIVER_OK);
    }

    /// Does all of it: reset, features, queues, start. Says whether the device is at work.
    pub fn bring_up(&self, features: u64, queues: &[&DriverQueue<'_>]) -> bool {
        self.reset();
        if !self.accept(features) {
            return false;
        }
        let ready = (0..).zip(queues).all(|(index, queue)| self.set_up_queue(index, queue));
        self.start();
        ready && self.status() & (p::DRIVER_OK | p::NEEDS_RESET) == p::DRIVER_OK
    }

    /// Says that a queue has new buffers.
    pub fn kick(&self, queue: u32) {
        self.write(p::QUEUE_NOTIFY, queue);
    }

    /// The reasons for interrupts, which are acknowledged.
    pub fn acknowledge(&self) -> u32 {
        let reasons = self.read(p::INTERRUPT_STATUS);
        self.write(p::INTERRUPT_ACK, reasons);
        reasons
    }

    /// How many interrupts there were since this was last asked.
    pub fn take_interrupts(&self) -> u64 {
        self.irq.read().unwrap_or_default()
    }
}
