//! The vsock device for a vhost-user frontend, such as QEMU's `vhost-user-vsock-device`.
//!
//! The frontend keeps the event queue to itself, so there are two queues here.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::virtio::vsock::{QUEUE_RX, QUEUE_TX, Queues, Vsock};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

const QUEUES: usize = 2;
/// The longest queue that a frontend may ask for; QEMU asks for 128.
const MAX_QUEUE_SIZE: usize = 1024;
/// The event that stands for the device's own descriptor: the first free one, since the
/// library takes one for each queue and the next for itself.
const SOCKETS_EVENT: u64 = QUEUES as u64 + 1;

/// A device and the guest's memory, for as long as there is a frontend.
struct State {
    device: Vsock,
    memory: Option<Memory>,
    /// Whether the queues were stopped since they were last looked at.
    stopped: bool,
}

/// A vsock device for [`VhostUserDaemon`].
#[derive(Clone)]
pub struct VsockServer(Arc<Mutex<State>>);

impl VsockServer {
    /// Serves `device`.
    pub fn new(device: Vsock) -> Self {
        Self(Arc::new(Mutex::new(State { device, memory: None, stopped: false })))
    }

    /// Makes the daemon hear of what happens to the device's sockets.
    ///
    /// # Errors
    /// The system refuses to watch one more descriptor.
    pub fn attach(&self, daemon: &VhostUserDaemon<Self>) -> io::Result<()> {
        let sockets = self.lock().device.as_fd().as_raw_fd();
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(sockets, EventSet::IN, SOCKETS_EVENT)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, short of a bug; then the connections are
        // still the best that there is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VhostUserBackend for VsockServer {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG
    }

    fn reset_device(&self) {
        self.lock().device.reset();
    }

    // The queues keep it themselves.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.lock().device.config().read(offset, size).to_vec()
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        self.lock().memory = Some(memory);
        Ok(())
    }

    fn stop_vring(&self, _index: u32) -> io::Result<()> {
        self.lock().stopped = true;
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    /// Never fails: an error would end the thread that serves the queues.
    fn handle_event(
        &self,
        _event: u16,
        _ready: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        let mut state = self.lock();
        let State { device, memory, stopped } = &mut *state;
        let (Some(memory), Some(rx), Some(tx)) =
            (memory.as_ref(), vrings.get(QUEUE_RX), vrings.get(QUEUE_TX))
        else {
            device.notice_host();
            return Ok(());
        };
        let used = {
            let (mut rx, mut tx) = (rx.get_mut(), tx.get_mut());
            let enabled = rx.is_enabled() && tx.is_enabled();
            let (rx, tx) = (rx.get_queue_mut(), tx.get_queue_mut());
            if !(enabled && rx.ready() && tx.ready()) {
                device.notice_host();
                return Ok(());
            }
            // A machine that was paused goes on where its queues stood. Queues that begin at
            // the beginning belong to a driver that knows of no connection.
            if std::mem::take(stopped) && rx.next_avail() == 0 && tx.next_avail() == 0 {
                device.reset();
            }
            device.process(&*memory.memory(), Queues { rx, tx })
        };
        for (vring, used) in [(rx, used.rx), (tx, used.tx)] {
            // A driver that broke its queue is told, for what it is worth.
            if used && vring.needs_notification().unwrap_or(true) {
                let _ = vring.signal_used_queue();
            }
        }
        Ok(())
    }
}
