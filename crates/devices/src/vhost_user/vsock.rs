//! The vsock device for a vhost-user frontend, such as QEMU's `vhost-user-vsock-device`.
//!
//! The frontend keeps the event queue to itself, so there are two queues here.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
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
    /// The queue that the guest sends with, since there was something in it.
    tx: Option<VringMutex>,
    /// Whether the queues were stopped since they were last looked at.
    stopped: bool,
}

impl State {
    /// Takes what the guest had put into its queue before it was stopped.
    fn take_rest(&mut self) {
        let (Some(memory), Some(vring)) = (&self.memory, &self.tx) else { return };
        let mut vring = vring.get_mut();
        let queue = vring.get_queue_mut();
        // The library has said already that it is stopped, and a queue that is has no chains.
        let was_ready = queue.ready();
        queue.set_ready(true);
        let any = self.device.take_rest(&*memory.memory(), queue);
        queue.set_ready(was_ready);
        if any {
            // Fails where the frontend is gone.
            let _ = vring.signal_used_queue();
        }
    }
}

/// A vsock device for [`VhostUserDaemon`].
#[derive(Clone)]
pub struct VsockServer(Arc<Mutex<State>>);

impl VsockServer {
    /// Serves `device`.
    pub fn new(device: Vsock) -> Self {
        Self(Arc::new(Mutex::new(State { device, memory: None, tx: None, stopped: false })))
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

    /// Gives host programs what the guest had sent, for as long as `within`, after the frontend
    /// is gone.
    pub fn finish(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        state.take_rest();
        let device = &mut state.device;
        device.reset();
        while device.owes_host() {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let polled = poll(&mut [PollFd::new(&*device, PollFlags::IN)], timeout.as_ref());
            if !matches!(polled, Ok(1..) | Err(Errno::INTR)) {
                return;
            }
            device.notice_host();
        }
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

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        let mut state = self.lock();
        state.stopped = true;
        if index as usize == QUEUE_TX {
            state.take_rest();
        }
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
        let State { device, memory, tx: sending, stopped } = &mut *state;
        let (Some(memory), Some(rx), Some(tx)) =
            (memory.as_ref(), vrings.get(QUEUE_RX), vrings.get(QUEUE_TX))
        else {
            device.notice_host();
            return Ok(());
        };
        if sending.is_none() {
            *sending = Some(tx.clone());
        }
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
