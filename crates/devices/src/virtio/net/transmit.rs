//! Frames from the guest to the host.

use vm_memory::GuestMemoryMmap;

use super::host::{Gone, Host, Sent};
use super::metrics::Metrics;
use super::protocol::{HEADER_LEN, MAX_FRAME, MAX_TX_PIECES, MIN_FRAME, is_plain};
use crate::virtio::buffers::{BadChain, Buffers, Direction};
use crate::virtio::device::DeviceError;
use crate::virtio::ring::{Chain, Ring, Used};
use crate::virtio::vectored::Vectors;

/// How many frames are sent before others get their turn.
const BATCH: usize = 256;

/// How far one direction came.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The driver or the host says when there is more.
    Waiting,
    /// There may be more.
    More,
    /// The host end is over.
    Gone(Gone),
}

/// Sends what the guest wants to send, as far as the host takes it.
pub(crate) fn transmit(
    memory: &GuestMemoryMmap,
    ring: &mut Ring,
    host: &mut Host,
    metrics: &mut Metrics,
) -> Result<Progress, DeviceError> {
    if let Err(gone) = host.flush() {
        return Ok(Progress::Gone(gone));
    }
    let mut frame = Buffers::empty();
    let mut vectors = Vectors::new();
    ring.quiet(memory)?;
    for _ in 0..BATCH {
        let Some(chain) = ring.next(memory)? else {
            ring.tell(memory)?;
            return Ok(Progress::Waiting);
        };
        let head = chain.head_index();
        frame.clear();
        let Ok(()) = take(memory, chain, &mut frame) else {
            metrics.malformed += 1;
            metrics.chains += 1;
            ring.give_back(memory, Used { head, len: 0 })?;
            continue;
        };
        match host.send(frame.pieces(), &mut vectors) {
            Ok(Sent::Whole) => {
                metrics.frames_from_guest += 1;
                metrics.bytes_from_guest += frame.len() as u64;
            }
            Ok(Sent::Refused) => metrics.dropped_from_guest += 1,
            Ok(Sent::NotNow) => {
                // The host says when: the driver need not.
                ring.put_back(1);
                ring.tell(memory)?;
                return Ok(Progress::Waiting);
            }
            Err(gone) => {
                ring.put_back(1);
                return Ok(Progress::Gone(gone));
            }
        }
        ring.give_back(memory, Used { head, len: 0 })?;
        metrics.chains += 1;
    }
    ring.tell(memory)?;
    Ok(Progress::More)
}

/// Takes the frame of a chain, its header checked and gone.
fn take<'m>(
    memory: &'m GuestMemoryMmap,
    chain: Chain<'m>,
    frame: &mut Buffers<'m, GuestMemoryMmap>,
) -> Result<(), BadChain> {
    frame.append(memory, chain, Direction::FromDriver, MAX_TX_PIECES)?;
    let header = frame.read_front::<HEADER_LEN>()?;
    let good = is_plain(&header) && (MIN_FRAME..=MAX_FRAME).contains(&frame.len());
    if good { Ok(()) } else { Err(BadChain) }
}
