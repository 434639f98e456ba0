//! The device: packets from one queue to connections, from connections to the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::GuestMemory;

use super::config::{Config, ConfigSpace};
use super::connection::{Connection, Phase, Ports};
use super::hybrid::{self, ConnectRequest};
use super::metrics::Metrics;
use super::packet::{Header, Kind};
use super::protocol::{HEADER_LEN, HOST_CID};
use super::queues::{Queues, Turn, Used};
use super::sockets::{Happening, Readiness, Sockets, Token};
use super::table::{Peer, Table};
use crate::virtio::buffers::{BadChain, Buffers, Direction};

/// How many packets go in one direction before the other one gets its turn.
const BATCH: usize = 64;
/// How many refusals may wait for the guest to make room for them; then nothing more is taken
/// from it.
const MAX_REFUSALS: usize = 256;
/// How long a host program may take to say what it wants.
const GREETING: Duration = Duration::from_secs(5);
/// How long a guest may take to accept or refuse a connection: generous, since a guest that is
/// only emulated can be slow to start.
const RESPONSE: Duration = Duration::from_secs(10);
/// How long a host program may take for what a guest sent whose driver is gone.
const DRAINING: Duration = Duration::from_secs(10);

/// A vsock device. It does nothing of its own accord: whoever has the guest's memory and its
/// queues calls [`Vsock::process`] when a queue was kicked or the descriptor of the device is
/// readable, and [`Vsock::notice_host`] while there are no queues.
#[derive(Debug)]
pub struct Vsock {
    config: ConfigSpace,
    guest_cid: u64,
    socket: String,
    listener: UnixListener,
    listener_token: Token,
    sockets: Sockets,
    table: Table,
    refusals: VecDeque<Header>,
    metrics: Metrics,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The guest's context id is one that is taken.
    #[error("guest context id {0} is reserved, expected one above 2")]
    Cid(u32),
    /// The listening socket cannot be used.
    #[error("cannot watch the listening socket {socket:?}")]
    Listener {
        /// Its path.
        socket: String,
        /// Why not.
        source: io::Error,
    },
    /// The system gives no descriptors to wait on.
    #[error("cannot make what waits for sockets")]
    Sockets(#[source] io::Error),
}

impl Vsock {
    /// Makes a device without connections.
    ///
    /// # Errors
    /// See [`VsockError`].
    pub fn new(config: Config) -> Result<Self, VsockError> {
        let Config { guest_cid, socket, listener } = config;
        if u64::from(guest_cid) <= HOST_CID || guest_cid == u32::MAX {
            return Err(VsockError::Cid(guest_cid));
        }
        let sockets = Sockets::new().map_err(VsockError::Sockets)?;
        let mut table = Table::new();
        let listener_token = table.new_token();
        listener
            .set_nonblocking(true)
            .and_then(|()| sockets.watch(&listener, listener_token))
            .map_err(|source| VsockError::Listener { socket: socket.clone(), source })?;
        Ok(Self {
            config: ConfigSpace::new(guest_cid),
            guest_cid: guest_cid.into(),
            socket,
            listener,
            listener_token,
            sockets,
            table,
            refusals: VecDeque::new(),
            metrics: Metrics::default(),
        })
    }

    /// What the driver reads about the device.
    pub fn config(&self) -> ConfigSpace {
        self.config
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// Forgets all connections, since the driver has. Their host ends are closed, once they
    /// have what the guest sent before.
    pub fn reset(&mut self) {
        let deadline = Instant::now() + DRAINING;
        self.table.abandon(deadline);
        if self.owes_host() {
            self.sockets.wake_by(deadline);
        }
        self.refusals.clear();
    }

    /// Whether there is something that the guest sent and a host program has not taken yet.
    pub fn owes_host(&self) -> bool {
        self.table.owes_host()
    }

    /// Takes what is left in the queue of a guest that does not run any more, and says whether
    /// there was anything. It is not asked for more than the queue holds.
    pub fn take_rest<M: GuestMemory>(&mut self, memory: &M, tx: &mut Queue) -> bool {
        self.notice_host();
        let mut taken = 0;
        while taken < usize::from(tx.size()) {
            match self.take_from_guest(memory, tx) {
                0 => break,
                more => taken += more,
            }
        }
        taken > 0
    }

    /// Does all there is to do now, in both directions, for as long as a driver makes more.
    pub fn process<M: GuestMemory>(&mut self, memory: &M, queues: Queues<'_>) -> Used {
        let Queues { rx, tx } = queues;
        let mut all = Used::default();
        loop {
            let turn = self.turn(memory, Queues { rx: &mut *rx, tx: &mut *tx });
            let (Turn::Done(used) | Turn::Unfinished(used)) = turn;
            all = all | used;
            if let Turn::Done(_) = turn {
                return all;
            }
        }
    }

    /// Does a part of it that is bounded, for a driver that never pauses.
    pub fn turn<M: GuestMemory>(&mut self, memory: &M, queues: Queues<'_>) -> Turn {
        let Queues { rx, tx } = queues;
        for queue in [&mut *rx, &mut *tx] {
            // Fails for a queue that the driver broke, which then has no chains either.
            let _ = queue.disable_notification(memory);
        }
        self.notice_host();
        let taken = self.take_from_guest(memory, tx);
        let was_blocked = self.is_blocked();
        let given = self.give_to_guest(memory, rx);
        let used = Used { rx: given > 0, tx: taken > 0 };
        let unblocked = was_blocked && !self.is_blocked();
        let all_is_done = taken < BATCH && given < BATCH && !unblocked;
        if all_is_done { Turn::Done(used) } else { Turn::Unfinished(used) }
    }

    /// Takes note of what host programs did. An inactive device, which has no queues, keeps
    /// it until it has, as far as deadlines allow; [`Vsock::process`] does it by itself.
    pub fn notice_host(&mut self) {
        loop {
            let happenings = self.sockets.take();
            // Until there is nothing: a host program that was just accepted has often said
            // what it wants already.
            if happenings.is_empty() {
                return;
            }
            for happening in happenings {
                match happening {
                    Happening::Deadline => {
                        let next = self.table.expire(Instant::now());
                        self.sockets.set_timer(next);
                    }
                    Happening::Socket(token, _) if token == self.listener_token => self.accept(),
                    Happening::Socket(token, readiness) => self.peer_changed(token, readiness),
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match hybrid::accept(&self.listener) {
                Ok(Some(stream)) if !self.table.is_full() => self.greet(stream),
                Ok(Some(_)) => self.metrics.refused += 1,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a host program");
                    return;
                }
            }
        }
    }

    fn greet(&mut self, stream: UnixStream) {
        let token = self.table.new_token();
        if self.sockets.watch(&stream, token).is_ok() {
            let deadline = Instant::now() + GREETING;
            self.table.insert(token, Peer::Greeting(stream), Some(deadline));
            self.sockets.wake_by(deadline);
        }
    }

    fn peer_changed(&mut self, token: Token, readiness: Readiness) {
        match self.table.get_mut(token) {
            Some(Peer::Greeting(stream)) => match hybrid::receive_connect(stream) {
                Ok(ConnectRequest::Incomplete) => {}
                Ok(ConnectRequest::Port { port, .. }) => self.request(token, port),
                Ok(ConnectRequest::Nonsense) | Err(_) => {
                    self.metrics.refused += 1;
                    self.table.remove(token);
                }
            },
            Some(Peer::Connection(_)) => {
                self.table.with(token, |connection| connection.host_changed(readiness));
            }
            None => {}
        }
    }

    fn request(&mut self, token: Token, port: u32) {
        let ports = self.table.new_ports(port);
        if let Some(Peer::Greeting(stream)) = self.table.take(token) {
            let connection = Connection::requested(ports, self.guest_cid, stream);
            let deadline = Instant::now() + RESPONSE;
            self.table.insert(token, Peer::Connection(Box::new(connection)), Some(deadline));
            self.sockets.wake_by(deadline);
        }
    }

    /// Takes up to [`BATCH`] packets and says how many. Fewer: there are no more, and the
    /// driver will kick when there are, or it has to make room for refusals first.
    fn take_from_guest<M: GuestMemory>(&mut self, memory: &M, tx: &mut Queue) -> usize {
        let mut taken = 0;
        while taken < BATCH && !self.is_blocked() {
            let Some(chain) = next_chain(memory, tx) else { break };
            let head = chain.head_index();
            self.take_packet(Buffers::new(memory, chain, Direction::FromDriver));
            if tx.add_used(memory, head, 0).is_err() {
                break;
            }
            taken += 1;
        }
        taken
    }

    fn is_blocked(&self) -> bool {
        self.refusals.len() >= MAX_REFUSALS
    }

    fn take_packet<M: GuestMemory>(&mut self, chain: Result<Buffers<'_, M>, BadChain>) {
        let packet = chain.and_then(|mut data| {
            let front = data.take_front::<HEADER_LEN>()?;
            Ok((Header::from_bytes(&front.read()?), data))
        });
        let Ok((header, mut data)) = packet else {
            self.metrics.malformed += 1;
            return;
        };
        self.metrics.packets_from_guest += 1;
        if header.src_cid != self.guest_cid {
            self.metrics.malformed += 1;
            return;
        }
        let kind = header.kind().filter(|_| header.dst_cid == HOST_CID);
        let (Some(kind), Ok(())) = (kind, data.truncate(header.len as usize)) else {
            self.metrics.malformed += 1;
            self.refuse_and_forget(&header);
            return;
        };
        self.metrics.bytes_from_guest += u64::from(header.len);
        self.dispatch(kind, &header, &data);
    }

    fn dispatch<M: GuestMemory>(&mut self, kind: Kind, header: &Header, data: &Buffers<'_, M>) {
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        let known = self.table.find(ports);
        match (kind, known) {
            (Kind::Request, None) => self.connect(ports, header),
            (Kind::Reset, None) => {}
            (_, None) => self.refuse(header),
            (Kind::Request, Some(_)) => self.refuse_and_forget(header),
            (_, Some(token)) => {
                let change = self.table.with(token, |connection| {
                    let before = connection.phase();
                    connection.guest_sent(kind, header, data);
                    (before, connection.phase())
                });
                match change {
                    Some((Phase::Requested, Phase::Open)) => self.metrics.opened += 1,
                    Some((Phase::Requested, Phase::Over)) => self.metrics.refused += 1,
                    Some((Phase::Draining, _)) if kind != Kind::Reset => self.refuse(header),
                    _ => {}
                }
            }
        }
    }

    fn connect(&mut self, ports: Ports, header: &Header) {
        if self.table.is_full() {
            return self.refuse(header);
        }
        let token = self.table.new_token();
        let connected = hybrid::connect(&self.socket, ports.host)
            .and_then(|stream| self.sockets.watch(&stream, token).map(|()| stream));
        match connected {
            Ok(stream) => {
                let connection = Connection::accepted(ports, header, stream);
                self.table.insert(token, Peer::Connection(Box::new(connection)), None);
                self.metrics.opened += 1;
            }
            Err(error) => {
                tracing::debug!(%error, port = ports.host, "refused a connection of the guest");
                self.refuse(header);
            }
        }
    }

    fn refuse(&mut self, header: &Header) {
        self.metrics.refused += 1;
        self.refusals.push_back(header.refusal());
    }

    /// Refuses a packet that a connection cannot go on after.
    fn refuse_and_forget(&mut self, header: &Header) {
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        if let Some(token) = self.table.find(ports) {
            self.table.remove(token);
        }
        if header.kind() != Some(Kind::Reset) {
            self.refuse(header);
        }
    }

    fn has_something_to_give(&mut self) -> bool {
        !self.refusals.is_empty() || self.table.first_scheduled().is_some()
    }

    /// Fills up to [`BATCH`] of the guest's buffers, as long as there are any and there is
    /// something to fill them with, and says how many were used.
    fn give_to_guest<M: GuestMemory>(&mut self, memory: &M, rx: &mut Queue) -> usize {
        let mut given = 0;
        while given < BATCH && self.has_something_to_give() {
            let Some(chain) = next_chain(memory, rx) else { break };
            let head = chain.head_index();
            let len = match self.fill(Buffers::new(memory, chain, Direction::ToDriver)) {
                Ok(Some(len)) => len,
                Ok(None) => {
                    // The connection had nothing after all.
                    rx.go_to_previous_position();
                    self.table.pass_on();
                    continue;
                }
                Err(BadChain) => {
                    self.metrics.malformed += 1;
                    0
                }
            };
            if rx.add_used(memory, head, len).is_err() {
                break;
            }
            given += 1;
        }
        given
    }

    fn fill<M: GuestMemory>(
        &mut self,
        chain: Result<Buffers<'_, M>, BadChain>,
    ) -> Result<Option<u32>, BadChain> {
        let mut room = chain?;
        let front = room.take_front::<HEADER_LEN>()?;
        let header = match self.refusals.pop_front() {
            Some(header) => header,
            None => match self.next_packet(&mut room) {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        front.write(&header.to_bytes())?;
        self.metrics.packets_to_guest += 1;
        self.metrics.bytes_to_guest += u64::from(header.len);
        Ok(Some(HEADER_LEN as u32 + header.len))
    }

    fn next_packet<M: GuestMemory>(&mut self, room: &mut Buffers<'_, M>) -> Option<Header> {
        let token = self.table.first_scheduled()?;
        let header = self.table.with(token, |connection| connection.next_for_guest(room))??;
        self.table.next_turn();
        Some(header)
    }
}

impl AsFd for Vsock {
    /// Readable when host programs did something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sockets.as_fd()
    }
}

/// The next chain of a queue. None: the driver kicks when there is one.
fn next_chain<'m, M: GuestMemory>(
    memory: &'m M,
    queue: &mut Queue,
) -> Option<DescriptorChain<&'m M>> {
    if let Some(chain) = queue.pop_descriptor_chain(memory) {
        return Some(chain);
    }
    // A chain that came before kicks were wanted again. Not in a loop: a driver that breaks
    // its queue can make it look full for ever.
    match queue.enable_notification(memory) {
        Ok(true) => {
            let _ = queue.disable_notification(memory);
            queue.pop_descriptor_chain(memory)
        }
        Ok(false) | Err(_) => None,
    }
}
