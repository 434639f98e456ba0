//! The device: buffers in, random bytes of the host out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::rand::{GetRandomFlags, getrandom};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

use crate::virtio::again::Again;
use crate::virtio::buffers::BadChain;
use crate::virtio::device::{Activation, Counters, DeviceError, DeviceType, VirtioDevice};
use crate::virtio::ring::{Chain, Ring, Used};

/// The most that one request gets, in bytes; Linux asks for 64 at a time.
pub const MAX_REQUEST: usize = 64 << 10;

/// How many requests are served before other devices get their turn.
const BATCH: usize = 64;
/// How many bytes are fetched from the host at once.
const PIECE: usize = 4096;

/// An entropy device.
#[derive(Debug)]
pub struct Rng {
    again: Again,
    active: Option<Active>,
    counters: Counters,
}

#[derive(Debug)]
struct Active {
    memory: GuestMemoryMmap,
    requests: Ring,
}

impl Rng {
    /// Makes an inactive device.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { again: Again::new()?, active: None, counters: Counters::default() })
    }

    fn process(&mut self) -> Result<(), DeviceError> {
        let Some(Active { memory, requests }) = &mut self.active else { return Ok(()) };
        requests.quiet(memory)?;
        for _ in 0..BATCH {
            let Some(chain) = requests.next(memory)? else { return requests.tell(memory) };
            let head = chain.head_index();
            let mut len = 0;
            let outcome = serve(memory, chain, &mut len);
            self.counters.chains += 1;
            self.counters.bytes_to_guest += len as u64;
            self.counters.malformed += u64::from(outcome.is_err());
            requests.give_back(memory, Used { head, len: len as u32 })?;
        }
        self.again.ask();
        requests.tell(memory)
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Entropy
    }

    fn name(&self) -> String {
        "rng".to_owned()
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64]
    }

    /// There is none (5.4.4).
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let Activation { memory, queues, features, interrupt } = activation;
        let queue = queues.into_iter().next().ok_or(DeviceError::QueueMissing { queue: 0 })?;
        let requests = Ring::new(&memory, (0, queue), features, interrupt)?;
        self.active = Some(Active { memory, requests });
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        if queue == 0 { self.process() } else { Ok(()) }
    }

    fn host_events(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.again.as_fd()]
    }

    fn host_ready(&mut self, _event: usize) -> Result<(), DeviceError> {
        self.again.answered();
        self.process()
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// Fills a request from its beginning, as far as it makes sense, and counts in `filled`.
fn serve(memory: &GuestMemoryMmap, chain: Chain<'_>, filled: &mut usize) -> Result<(), BadChain> {
    let mut whole = false;
    for descriptor in chain {
        if !descriptor.is_write_only() {
            return Err(BadChain);
        }
        let room = (MAX_REQUEST - *filled).min(descriptor.len() as usize);
        let pieces = memory.get_slices(descriptor.addr(), room, Permissions::Write);
        for piece in pieces.map_err(|_| BadChain)? {
            let piece = piece.map_err(|_| BadChain)?;
            let len = fill(&piece);
            *filled += len;
            if len < piece.len() {
                // The host has no more.
                return Ok(());
            }
        }
        if *filled == MAX_REQUEST {
            return Ok(());
        }
        whole = !descriptor.has_next();
    }
    // A chain that loops, or leaves its table, ends where it says that it goes on.
    if whole { Ok(()) } else { Err(BadChain) }
}

/// Fills a piece with what the host's generator gives, and says how much that was.
fn fill(piece: &VolatileSlice<'_>) -> usize {
    let mut buffer = [0; PIECE];
    let mut rest = *piece;
    while !rest.is_empty() {
        let want = rest.len().min(PIECE);
        let Ok(got @ 1..) = getrandom(&mut buffer[..want], GetRandomFlags::empty()) else { break };
        rest.copy_from(&buffer[..got]);
        match rest.offset(got) {
            Ok(after) => rest = after,
            Err(_) => break,
        }
    }
    piece.len() - rest.len()
}
