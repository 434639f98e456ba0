//! The device: what it tells the driver, and who gets a turn when.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestMemoryMmap;

use super::config::{Config, ConfigSpace};
use super::host::{Gone, Host, Link};
use super::metrics::Metrics;
use super::protocol::{MIN_MTU, QUEUE_RX, QUEUE_SIZE, QUEUE_TX, feature};
use super::receive::{Receiver, receive};
use super::transmit::{Progress, transmit};
use crate::virtio::again::Again;
use crate::virtio::device::{
    Activation, Counters, DeviceError, DeviceType, Interrupt, VirtioDevice,
};
use crate::virtio::ring::Ring;

/// The place of the host end in [`VirtioDevice::host_events`]; the other is the device's own.
const EVENT_HOST: usize = 0;

/// A network device.
#[derive(Debug)]
pub struct Net {
    mac: [u8; 6],
    mtu: Option<u16>,
    host: Host,
    again: Again,
    state: State,
    metrics: Metrics,
}

#[derive(Debug)]
enum State {
    Inactive,
    Active(Active),
}

struct Active {
    memory: GuestMemoryMmap,
    receiver: Receiver,
    transmitter: Ring,
    interrupt: Arc<dyn Interrupt>,
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Active")
            .field("receiver", &self.receiver)
            .field("transmitter", &self.transmitter)
            .finish_non_exhaustive()
    }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address is one of a group, or none.
    #[error("address {0:02x?} is not that of one network interface")]
    Mac([u8; 6]),
    /// The longest packet is too short.
    #[error("mtu {0} is too small, expected at least {MIN_MTU}")]
    Mtu(u16),
    /// The host end cannot be used.
    #[error("cannot use the host end of the network device")]
    Host(#[source] io::Error),
    /// The system gives no descriptor.
    #[error("cannot make the event of the network device")]
    Event(#[source] io::Error),
}

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Receive,
    Transmit,
    Both,
}

impl Net {
    /// Makes a device.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn new(config: Config) -> Result<Self, NetError> {
        let Config { mac, mtu, host } = config;
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(NetError::Mac(mac));
        }
        if let Some(mtu) = mtu.filter(|mtu| *mtu < MIN_MTU) {
            return Err(NetError::Mtu(mtu));
        }
        let host = Host::new(host).map_err(NetError::Host)?;
        let again = Again::new().map_err(NetError::Event)?;
        let (state, metrics) = (State::Inactive, Metrics::default());
        Ok(Self { mac, mtu, host, again, state, metrics })
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// How far the driver's chains of each queue were taken, while it is active.
    pub(crate) fn positions(&self) -> Option<[u16; 2]> {
        match &self.state {
            State::Active(active) => {
                Some([&active.receiver.ring, &active.transmitter].map(Ring::position))
            }
            State::Inactive => None,
        }
    }

    /// Does what there is to do, and is inactive after an error.
    fn process(&mut self, work: Work) -> Result<(), DeviceError> {
        let result = self.both(work);
        if result.is_err() {
            self.state = State::Inactive;
        }
        result
    }

    fn both(&mut self, work: Work) -> Result<(), DeviceError> {
        let State::Active(active) = &mut self.state else { return Ok(()) };
        let Active { memory, receiver, transmitter, interrupt } = active;
        let (host, metrics) = (&mut self.host, &mut self.metrics);
        let mut results = [Progress::Waiting, Progress::Waiting];
        if work != Work::Receive {
            results[0] = transmit(memory, transmitter, host, metrics)?;
        }
        if work != Work::Transmit {
            results[1] = receive(memory, receiver, host, metrics)?;
        }
        let interrupt = Arc::clone(interrupt);
        for progress in results {
            match progress {
                Progress::Waiting => {}
                Progress::More => self.again.ask(),
                Progress::Gone(gone) => self.lose(&gone, interrupt.as_ref()),
            }
        }
        Ok(())
    }

    fn lose(&mut self, gone: &Gone, interrupt: &dyn Interrupt) {
        if self.host.link() == Link::Down {
            return;
        }
        tracing::warn!(error = %gone, "the guest's link is down");
        self.host.give_up();
        interrupt.config_changed();
        // What the guest still wants to send is dropped.
        self.again.ask();
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn name(&self) -> String {
        "net".into()
    }

    fn features(&self) -> u64 {
        use feature::{MAC, MRG_RXBUF, MTU, STATUS};
        let queues = 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
        let mtu = if self.mtu.is_some() { MTU } else { 0 };
        1 << VIRTIO_F_VERSION_1 | queues | MAC | STATUS | MRG_RXBUF | mtu
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let (mac, mtu) = (self.mac, self.mtu);
        let link_is_up = self.host.link() == Link::Up;
        ConfigSpace { mac, mtu, link_is_up }.read(offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        self.reset();
        let Activation { memory, queues, features, interrupt } = activation;
        let mut queues = queues.into_iter();
        let mut ring = |index| {
            let queue = queues.next().ok_or(DeviceError::QueueMissing { queue: index })?;
            Ring::new(&memory, (index, queue), features, Arc::clone(&interrupt))
        };
        let receiver =
            Receiver { ring: ring(QUEUE_RX)?, merges: features & feature::MRG_RXBUF != 0 };
        let transmitter = ring(QUEUE_TX)?;
        self.state = State::Active(Active { memory, receiver, transmitter, interrupt });
        // The host may have sent something before.
        self.again.ask();
        Ok(())
    }

    fn reset(&mut self) {
        self.state = State::Inactive;
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        match queue {
            QUEUE_RX => self.process(Work::Receive),
            QUEUE_TX => self.process(Work::Transmit),
            _ => Ok(()),
        }
    }

    fn host_events(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.host.as_fd(), self.again.as_fd()]
    }

    fn host_ready(&mut self, event: usize) -> Result<(), DeviceError> {
        match event {
            EVENT_HOST => self.host.happened(),
            _ => self.again.answered(),
        }
        self.process(Work::Both)
    }

    fn counters(&self) -> Counters {
        Counters {
            chains: self.metrics.chains,
            bytes_from_guest: self.metrics.bytes_from_guest,
            bytes_to_guest: self.metrics.bytes_to_guest,
            malformed: self.metrics.malformed,
        }
    }
}
