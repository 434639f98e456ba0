//! The network device for a vhost-user frontend, such as Cloud Hypervisor's `vhost_user` net.
//!
//! The device takes its queues over from the library when both are enabled, and gives back how
//! far it came when one is stopped. That its configuration has changed is not told: what ends
//! the guest's link here ends the machine.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::virtio::device::{Activation, Interrupt, VirtioDevice};
use crate::virtio::net::Net;

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

const QUEUES: usize = 2;
/// The longest queue that a frontend may ask for; Cloud Hypervisor asks for 256.
const MAX_QUEUE_SIZE: usize = 1024;
/// The most of its configuration that is read at once, in bytes (vhost-user's own limit).
const MAX_CONFIG: usize = 256;
/// The event of the device's first descriptor: the first free one, since the library takes one
/// for each queue and the next for itself.
const FIRST_HOST_EVENT: usize = QUEUES + 1;

/// A device and its guest, for as long as there is a frontend.
struct State {
    device: Net,
    memory: Option<Memory>,
    features: u64,
    /// The queues that the device works on.
    at_work: Option<Vec<VringMutex>>,
}

/// A network device for [`VhostUserDaemon`].
#[derive(Clone)]
pub struct NetServer(Arc<Mutex<State>>);

impl NetServer {
    /// Serves `device`.
    pub fn new(device: Net) -> Self {
        Self(Arc::new(Mutex::new(State { device, memory: None, features: 0, at_work: None })))
    }

    /// Makes the daemon hear of what happens at the device's host end.
    ///
    /// # Errors
    /// The system refuses to watch one more descriptor.
    pub fn attach(&self, daemon: &VhostUserDaemon<Self>) -> io::Result<()> {
        let state = self.lock();
        let edges = EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED;
        for handler in daemon.get_epoll_handlers() {
            for (event, fd) in (FIRST_HOST_EVENT as u64..).zip(state.device.host_events()) {
                handler.register_listener(fd.as_raw_fd(), edges, event)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, short of a bug; then the device is still the
        // best that there is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the queues over if both can be worked on.
    fn begin(&mut self, vrings: &[VringMutex]) {
        let Some(memory) = self.memory.as_ref().filter(|_| self.at_work.is_none()) else { return };
        let queues: Option<Vec<Queue>> = vrings.iter().map(ready).collect();
        let Some(queues) = queues.filter(|queues| queues.len() == QUEUES) else { return };
        let activation = Activation {
            memory: (*memory.memory()).clone(),
            queues,
            features: self.features,
            interrupt: Arc::new(Calls(vrings.to_vec())),
        };
        match self.device.activate(activation) {
            Ok(()) => self.at_work = Some(vrings.to_vec()),
            Err(error) => tracing::warn!(%error, "a driver's queues cannot be used"),
        }
    }

    /// Stops, and says how far each queue came.
    fn stop(&mut self) {
        let positions = self.device.positions();
        self.device.reset();
        let vrings = self.at_work.take().unwrap_or_default();
        for (vring, position) in vrings.iter().zip(positions.into_iter().flatten()) {
            vring.set_queue_next_avail(position);
            // Where the guest's memory was changed alone, nobody else says that.
            if let Ok(used) = vring.queue_used_idx() {
                vring.set_queue_next_used(used);
            }
        }
    }
}

/// A queue that may be worked on, as the driver and the frontend set it up.
fn ready(vring: &VringMutex) -> Option<Queue> {
    let vring = vring.get_ref();
    let usable = vring.is_enabled() && vring.get_queue().ready();
    usable.then(|| vring.get_queue().state().try_into().ok()).flatten()
}

/// How the driver is told of buffers.
struct Calls(Vec<VringMutex>);

impl Interrupt for Calls {
    fn queue_used(&self, queue: usize) {
        if let Some(vring) = self.0.get(queue) {
            let _ = vring.signal_used_queue();
        }
    }

    fn config_changed(&self) {}
}

impl VhostUserBackend for NetServer {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        self.lock().device.features() | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        self.lock().features = features;
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG
    }

    fn reset_device(&self) {
        let mut state = self.lock();
        state.device.reset();
        state.at_work = None;
    }

    // The queues keep it themselves.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut data = vec![0; MAX_CONFIG.min(size as usize)];
        self.lock().device.read_config(offset.into(), &mut data);
        data
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        let mut state = self.lock();
        // What it works on is where it was.
        state.stop();
        state.memory = Some(memory);
        Ok(())
    }

    fn stop_vring(&self, _index: u32) -> io::Result<()> {
        self.lock().stop();
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    /// Never fails: an error would end the thread that serves the queues.
    fn handle_event(
        &self,
        event: u16,
        _ready: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(vrings);
        let event = usize::from(event);
        let done = match event.checked_sub(FIRST_HOST_EVENT) {
            Some(host) => state.device.host_ready(host),
            None => state.device.queue_kicked(event),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a driver broke its queues");
        }
        Ok(())
    }
}
