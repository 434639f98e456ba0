//! The device: what the guest writes goes to the host.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

use crate::virtio::again::Again;
use crate::virtio::buffers::BadChain;
use crate::virtio::device::{Activation, Counters, DeviceError, DeviceType, VirtioDevice};
use crate::virtio::ring::{Chain, Ring, Used};

/// The most that is taken of one chain, in bytes; Linux writes a page at most. What is after it
/// is lost.
pub const MAX_WRITE: usize = 64 << 10;

/// Index of the queue whose buffers the driver fills (5.3.2). The other one, which the device
/// would fill, is never looked at.
const QUEUE_TX: usize = 1;
/// How many chains are taken before other devices get their turn.
const BATCH: usize = 64;
/// How many bytes are read from the guest at once.
const PIECE: usize = 4096;

/// A console device whose output goes to `W`. What `W` does not take is lost: a guest must not
/// fail, and cannot do anything about it.
pub struct Console<W> {
    out: W,
    again: Again,
    active: Option<Active>,
    counters: Counters,
}

struct Active {
    memory: GuestMemoryMmap,
    written: Ring,
}

impl<W: Write + Send> Console<W> {
    /// Makes an inactive device.
    ///
    /// # Errors
    /// The system gives no more descriptors.
    pub fn new(out: W) -> io::Result<Self> {
        Ok(Self { out, again: Again::new()?, active: None, counters: Counters::default() })
    }

    fn process(&mut self) -> Result<(), DeviceError> {
        let Some(Active { memory, written }) = &mut self.active else { return Ok(()) };
        written.quiet(memory)?;
        for _ in 0..BATCH {
            let Some(chain) = written.next(memory)? else { return written.tell(memory) };
            let head = chain.head_index();
            let taken = &mut self.counters.bytes_from_guest;
            let outcome = each_piece(memory, chain, |bytes| {
                *taken += bytes.len() as u64;
                let _ = self.out.write_all(bytes);
            });
            self.counters.chains += 1;
            self.counters.malformed += u64::from(outcome.is_err());
            written.give_back(memory, Used { head, len: 0 })?;
        }
        self.again.ask();
        written.tell(memory)
    }
}

impl<W: Write + Send> VirtioDevice for Console<W> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn name(&self) -> String {
        "console".to_owned()
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64, 64]
    }

    /// All of it belongs to features that are not offered (5.3.4).
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let Activation { memory, queues, features, interrupt } = activation;
        let missing = DeviceError::QueueMissing { queue: QUEUE_TX };
        let queue = queues.into_iter().nth(QUEUE_TX).ok_or(missing)?;
        let written = Ring::new(&memory, (QUEUE_TX, queue), features, interrupt)?;
        self.active = Some(Active { memory, written });
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        if queue == QUEUE_TX { self.process() } else { Ok(()) }
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

impl<W> fmt::Debug for Console<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// Gives what a chain holds to `take`, a bounded piece at a time, as far as it makes sense.
fn each_piece(
    memory: &GuestMemoryMmap,
    chain: Chain<'_>,
    mut take: impl FnMut(&[u8]),
) -> Result<(), BadChain> {
    let mut left = MAX_WRITE;
    let mut whole = false;
    for descriptor in chain {
        let len = descriptor.len() as usize;
        if descriptor.is_write_only() || len > left {
            return Err(BadChain);
        }
        left -= len;
        let pieces = memory.get_slices(descriptor.addr(), len, Permissions::Read);
        for piece in pieces.map_err(|_| BadChain)? {
            copy_out(&piece.map_err(|_| BadChain)?, &mut take);
        }
        whole = !descriptor.has_next();
    }
    // A chain that loops, or leaves its table, ends where it says that it goes on.
    if whole { Ok(()) } else { Err(BadChain) }
}

fn copy_out(piece: &VolatileSlice<'_>, take: &mut impl FnMut(&[u8])) {
    let mut buffer = [0; PIECE];
    let mut rest = *piece;
    while !rest.is_empty() {
        let len = rest.copy_to(&mut buffer[..]);
        take(&buffer[..len]);
        match rest.offset(len) {
            Ok(after) => rest = after,
            Err(_) => return,
        }
    }
}
