//! The device: requests from its queue to the file.

use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};

use virtio_bindings::virtio_blk::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{Bytes, GuestMemoryMmap};

use super::config::{Config, ConfigSpace};
use super::disk::{Backing, Data, Failure};
use super::metrics::Metrics;
use super::protocol::{HEADER_LEN, ID_LEN, MAX_PIECES, QUEUE_SIZE, SECTOR, feature};
use super::request::{self, Clear, Disk, Refusal, Request, Shape};
use crate::virtio::again::Again;
use crate::virtio::device::{Activation, Counters, DeviceError, DeviceType, VirtioDevice};
use crate::virtio::ring::{Chain, Ring, Used};

/// The device's only queue (5.2.2).
const QUEUE: usize = 0;
/// How many requests are done before other devices get their turn.
const BATCH: usize = 1024;
/// After how much data the driver is told, though there are more requests: it goes on with
/// what it has while they are done.
const TELL_AFTER: usize = 512 << 10;

/// A block device.
#[derive(Debug)]
pub struct Block {
    name: String,
    config: ConfigSpace,
    backing: Backing,
    again: Again,
    state: State,
    metrics: Metrics,
}

#[derive(Debug)]
enum State {
    Inactive,
    Active(Active),
}

#[derive(Debug)]
struct Active {
    memory: GuestMemoryMmap,
    ring: Ring,
    /// The driver does not flush: what it writes has to last at once (5.2.6.2).
    write_through: bool,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The serial number is too long.
    #[error("serial number {id:?} of a disk has {} bytes, expected at most {ID_LEN}", id.len())]
    Id {
        /// It.
        id: String,
    },
    /// The file is not one of whole sectors.
    #[error("the image of disk {id:?} has {len} bytes, expected a multiple of {SECTOR}")]
    Len {
        /// The disk's serial number.
        id: String,
        /// The file's length, in bytes.
        len: u64,
    },
    /// The file cannot be used.
    #[error("cannot use the image of disk {id:?}")]
    File {
        /// The disk's serial number.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// The system gives no descriptor.
    #[error("cannot make the event of disk {id:?}")]
    Event {
        /// The disk's serial number.
        id: String,
        /// Why not.
        source: io::Error,
    },
}

impl Block {
    /// Makes a device.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn new(config: Config) -> Result<Self, BlockError> {
        let Config { id, mut file, read_only } = config;
        let mut serial = [0; ID_LEN];
        match serial.get_mut(..id.len()) {
            Some(bytes) => bytes.copy_from_slice(id.as_bytes()),
            None => return Err(BlockError::Id { id }),
        }
        // Of a device the length is not among what is known of a file.
        let len = match file.seek(SeekFrom::End(0)) {
            Ok(len) if len.is_multiple_of(SECTOR) => len,
            Ok(len) => return Err(BlockError::Len { id, len }),
            Err(source) => return Err(BlockError::File { id, source }),
        };
        let again = match Again::new() {
            Ok(again) => again,
            Err(source) => return Err(BlockError::Event { id, source }),
        };
        let disk = Disk { sectors: len / SECTOR, read_only };
        Ok(Self {
            name: format!("block:{id}"),
            config: ConfigSpace::new(disk.sectors),
            backing: Backing { file, disk, id: serial },
            again,
            state: State::Inactive,
            metrics: Metrics::default(),
        })
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// Does what there is to do, and is inactive after an error.
    fn process(&mut self) -> Result<(), DeviceError> {
        let State::Active(active) = &mut self.state else { return Ok(()) };
        let mut worker = Worker { backing: &self.backing, metrics: &mut self.metrics };
        match worker.process(active) {
            Ok(Progress::Done) => Ok(()),
            Ok(Progress::More) => {
                self.again.ask();
                Ok(())
            }
            Err(error) => {
                self.state = State::Inactive;
                Err(error)
            }
        }
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn features(&self) -> u64 {
        use feature::{BLK_SIZE, DISCARD, FLUSH, RO, SEG_MAX, WRITE_ZEROES};
        let queue = 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
        let own = match self.backing.disk.read_only {
            true => RO,
            false => DISCARD | WRITE_ZEROES,
        };
        1 << VIRTIO_F_VERSION_1 | queue | SEG_MAX | BLK_SIZE | FLUSH | own
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), DeviceError> {
        self.reset();
        let Activation { memory, queues, features, interrupt } = activation;
        let queue = queues.into_iter().next().ok_or(DeviceError::QueueMissing { queue: QUEUE })?;
        let ring = Ring::new(&memory, (QUEUE, queue), features, interrupt)?;
        let write_through = features & feature::FLUSH == 0;
        self.state = State::Active(Active { memory, ring, write_through });
        Ok(())
    }

    fn reset(&mut self) {
        self.state = State::Inactive;
    }

    fn queue_kicked(&mut self, queue: usize) -> Result<(), DeviceError> {
        if queue == QUEUE { self.process() } else { Ok(()) }
    }

    fn host_events(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.again.as_fd()]
    }

    fn host_ready(&mut self, _event: usize) -> Result<(), DeviceError> {
        self.again.answered();
        self.process()
    }

    fn counters(&self) -> Counters {
        Counters {
            chains: self.metrics.chains,
            bytes_from_guest: self.metrics.bytes_written,
            bytes_to_guest: self.metrics.bytes_read,
            malformed: self.metrics.malformed,
        }
    }
}

/// Whether there may be more to do.
enum Progress {
    Done,
    More,
}

/// What works on the queue of an active device.
struct Worker<'d> {
    backing: &'d Backing,
    metrics: &'d mut Metrics,
}

impl Worker<'_> {
    fn process(&mut self, active: &mut Active) -> Result<Progress, DeviceError> {
        let Active { memory, ring, write_through } = active;
        let mut data = Data::new();
        let mut untold = 0;
        ring.quiet(memory)?;
        for _ in 0..BATCH {
            let Some(chain) = ring.next(memory)? else {
                ring.tell(memory)?;
                return Ok(Progress::Done);
            };
            let head = chain.head_index();
            let taken = self.take(memory, chain, &mut data);
            if untold >= TELL_AFTER || matches!(taken, Taken::Request(_, Ok(Request::Flush))) {
                ring.tell(memory)?;
                untold = 0;
            }
            let len = self.serve(taken, &mut data, *write_through);
            ring.give_back(memory, Used { head, len })?;
            self.metrics.chains += 1;
            untold += data.memory.readable.len() + data.memory.writable.len();
        }
        ring.tell(memory)?;
        Ok(Progress::More)
    }

    /// Takes a chain apart, and reads what it says, once.
    fn take<'m>(
        &self,
        memory: &'m GuestMemoryMmap,
        chain: Chain<'m>,
        data: &mut Data<'m>,
    ) -> Taken<'m> {
        let whole = data.memory.take(memory, chain, MAX_PIECES);
        let (Ok(()), Some(status)) = (whole, data.memory.writable.pop_byte()) else {
            return Taken::NoStatus;
        };
        let Ok(header) = data.memory.readable.read_front::<HEADER_LEN>() else {
            return Taken::Request(status, Err(Refusal::Malformed));
        };
        let (readable, writable) = (data.memory.readable.len(), data.memory.writable.len());
        let shape = Shape { readable, writable };
        Taken::Request(status, request::parse(&header, shape, self.backing.disk))
    }

    /// Does a request, and says how much was written to its memory, in bytes.
    fn serve(&mut self, taken: Taken<'_>, data: &mut Data<'_>, write_through: bool) -> u32 {
        let Taken::Request(status, request) = taken else {
            self.metrics.malformed += 1;
            return 0;
        };
        let room = data.memory.writable.len();
        let result = request.map_err(Failure::Refused).and_then(|request| {
            let moved = self.backing.execute(request, data)?;
            if write_through && matches!(request, Request::Write { .. } | Request::Clear { .. }) {
                self.backing.file.sync_data()?;
            }
            Ok((request, moved))
        });
        let code = match &result {
            Ok((request, moved)) => self.done(*request, *moved),
            Err(failure) => self.failed(failure),
        };
        let told = status.write_obj(code as u8, 0).is_ok();
        // What was not filled stands before the status: then nothing is sure to be written.
        let whole = told && (result.is_ok() || room == 0);
        if whole { (room + 1).try_into().unwrap_or(u32::MAX) } else { 0 }
    }

    fn done(&mut self, request: Request, moved: usize) -> u32 {
        match request {
            Request::Read { .. } => {
                self.metrics.reads += 1;
                self.metrics.bytes_read += moved as u64;
            }
            Request::Write { .. } => {
                self.metrics.writes += 1;
                self.metrics.bytes_written += moved as u64;
            }
            Request::Flush => self.metrics.flushes += 1,
            Request::Clear { how: Clear::Discard | Clear::WriteZeroes, .. } => {
                self.metrics.discards += 1;
            }
            Request::GetId => {}
        }
        VIRTIO_BLK_S_OK
    }

    fn failed(&mut self, failure: &Failure) -> u32 {
        match failure {
            Failure::Refused(Refusal::Malformed) => {
                self.metrics.malformed += 1;
                VIRTIO_BLK_S_IOERR
            }
            Failure::Refused(Refusal::ReadOnly) => {
                self.metrics.refused += 1;
                VIRTIO_BLK_S_IOERR
            }
            Failure::Refused(Refusal::Unsupported) | Failure::HostUnsupported => {
                self.metrics.refused += 1;
                VIRTIO_BLK_S_UNSUPP
            }
            Failure::Host(error) => {
                self.metrics.host_errors += 1;
                tracing::debug!(%error, "a disk's image failed");
                VIRTIO_BLK_S_IOERR
            }
        }
    }
}

/// A chain that was taken apart.
enum Taken<'m> {
    /// There is nowhere to say that it is wrong.
    NoStatus,
    /// Its status goes there.
    Request(vm_memory::VolatileSlice<'m>, Result<Request, Refusal>),
}
