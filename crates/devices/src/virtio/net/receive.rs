//! Frames from the host to the guest.

use vm_memory::GuestMemoryMmap;

use super::host::Host;
use super::metrics::Metrics;
use super::protocol::{HEADER_LEN, MAX_RX_PIECES, MIN_FRAME, header_to_guest};
use super::transmit::Progress;
use crate::virtio::buffers::{BadChain, Buffers, Direction};
use crate::virtio::device::DeviceError;
use crate::virtio::ring::{Ring, Used};

/// How many frames are given before others get their turn.
const BATCH: usize = 256;

/// The guest's buffers, as its driver uses them.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) ring: Ring,
    /// A frame may be in several chains (5.1.6.3.2).
    pub(crate) merges: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// The guest has it.
    Whole,
    /// There is no room now; the driver says when there is more.
    NotNow,
    /// There is never going to be room.
    TooLong,
}

/// The buffers of one frame; kept, so that not every frame allocates.
struct Room<'m> {
    pieces: Buffers<'m, GuestMemoryMmap>,
    chains: Vec<Used>,
}

/// Gives the guest what the host sent, as far as there is room for it. The rest stays where
/// it is, so that the host waits.
pub(crate) fn receive(
    memory: &GuestMemoryMmap,
    receiver: &mut Receiver,
    host: &mut Host,
    metrics: &mut Metrics,
) -> Result<Progress, DeviceError> {
    let mut room = Room { pieces: Buffers::empty(), chains: Vec::new() };
    let mut progress = Progress::More;
    receiver.ring.quiet(memory)?;
    for _ in 0..BATCH {
        let frame = match host.peek() {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                // The host says when: the driver need not.
                progress = Progress::Waiting;
                break;
            }
            Err(gone) => {
                progress = Progress::Gone(gone);
                break;
            }
        };
        let delivered = match frame.len() {
            0..MIN_FRAME => Delivered::TooLong,
            _ => receiver.deliver(memory, frame, &mut room, metrics)?,
        };
        match delivered {
            Delivered::Whole => {}
            Delivered::TooLong => metrics.dropped_to_guest += 1,
            Delivered::NotNow => {
                progress = Progress::Waiting;
                break;
            }
        }
        host.consume();
    }
    receiver.ring.tell(memory)?;
    Ok(progress)
}

impl Receiver {
    fn deliver<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
        frame: &[u8],
        room: &mut Room<'m>,
        metrics: &mut Metrics,
    ) -> Result<Delivered, DeviceError> {
        let outcome = self.find_room(memory, HEADER_LEN + frame.len(), room, metrics)?;
        let count = room.chains.len() as u16;
        if outcome != Delivered::Whole {
            self.ring.put_back(count);
            return Ok(outcome);
        }
        let written = room.pieces.copy_in(0, &header_to_guest(count));
        let written = written.and_then(|()| room.pieces.copy_in(HEADER_LEN, frame));
        written.map_err(|BadChain| self.ring.broken())?;
        self.ring.give_back_together(memory, &room.chains)?;
        metrics.chains += u64::from(count);
        metrics.frames_to_guest += 1;
        metrics.bytes_to_guest += frame.len() as u64;
        Ok(Delivered::Whole)
    }

    /// Takes chains until there is room for `len` bytes, which they are told to hold.
    fn find_room<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
        len: usize,
        room: &mut Room<'m>,
        metrics: &mut Metrics,
    ) -> Result<Delivered, DeviceError> {
        room.pieces.clear();
        room.chains.clear();
        let most = if self.merges { self.ring.size().into() } else { 1 };
        while room.pieces.len() < len {
            if room.chains.len() == most {
                return Ok(Delivered::TooLong);
            }
            let Some(chain) = self.ring.next(memory)? else { return Ok(Delivered::NotNow) };
            let head = chain.head_index();
            // The header is not to be in two chains.
            let least = if room.chains.is_empty() { HEADER_LEN } else { 1 };
            let before = room.pieces.len();
            match room.pieces.append(memory, chain, Direction::ToDriver, MAX_RX_PIECES) {
                Ok(size) if size >= least => {
                    let len = size.min(len - before) as u32;
                    room.chains.push(Used { head, len });
                }
                Ok(_) | Err(BadChain) => {
                    metrics.malformed += 1;
                    return Err(self.ring.broken());
                }
            }
        }
        Ok(Delivered::Whole)
    }
}
