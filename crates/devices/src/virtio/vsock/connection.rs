//! One connection between a port of the guest and a Unix socket.
//!
//! ```text
//! guest's request ──► Open ──► (guest is done with both directions, buffer empty) ──► Reset ──► Over
//! host's  request ──► Requested ──► (guest's response) ──► Open
//! guest's reset   ──► Draining, if it had ended its sending in order and some of it still
//!                     waits for the host; else Over
//! driver is gone  ──► Draining, if some of what the guest sent still waits; else Over
//! ```
//! A host end that is done with a direction is told to the guest by a shutdown; the guest
//! then ends the connection, when its program has read what was sent.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use vm_memory::{Bytes, GuestMemory, ReadVolatile, VolatileMemoryError, WriteVolatile};

use super::credit::Credit;
use super::packet::{Header, Kind};
use super::protocol::{
    HOST_CID, MAX_DATA, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, op,
};
use super::sockets::Readiness;
use crate::virtio::buffers::{Buffers, Piece};

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ports {
    pub(crate) host: u32,
    pub(crate) guest: u32,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The host asked for it and the guest has not answered.
    Requested,
    /// Data flows.
    Open,
    /// The guest is to be told that it is over.
    Reset,
    /// The guest knows that it is over; the host does not have all data yet.
    Draining,
    /// Both know.
    Over,
}

/// Packets that the guest is owed.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    request: bool,
    response: bool,
    credit_update: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    ports: Ports,
    guest_cid: u64,
    phase: Phase,
    /// Gone once both directions of the host end are.
    stream: Option<UnixStream>,
    readable: bool,
    writable: bool,
    /// What came from the guest and the host end has not taken; at most `credit::BUFFER`.
    to_host: VecDeque<u8>,
    credit: Credit,
    owed: Owed,
    /// Whether the guest was asked for room and has not answered.
    asked_for_credit: bool,
    /// Directions that the host end is done with, as shutdown flags.
    host_done: u32,
    /// Those that the guest was told of.
    host_done_told: u32,
    /// Directions that the guest is done with.
    guest_done: u32,
    /// Those that the host end was told of. It is told once: telling it is an event of the
    /// socket again.
    guest_done_told: u32,
}

impl Connection {
    /// A connection that the guest asked for by `request`, and that the host accepted.
    pub(crate) fn accepted(ports: Ports, request: &Header, stream: UnixStream) -> Self {
        let mut connection = Self::new(ports, request.src_cid, Phase::Open, stream);
        connection.credit.learn(request);
        connection.owed.response = true;
        connection
    }

    /// A connection that the host asks for.
    pub(crate) fn requested(ports: Ports, guest_cid: u64, stream: UnixStream) -> Self {
        let mut connection = Self::new(ports, guest_cid, Phase::Requested, stream);
        connection.owed.request = true;
        connection
    }

    fn new(ports: Ports, guest_cid: u64, phase: Phase, stream: UnixStream) -> Self {
        Self {
            ports,
            guest_cid,
            phase,
            stream: Some(stream),
            readable: true,
            writable: true,
            to_host: VecDeque::new(),
            credit: Credit::default(),
            owed: Owed::default(),
            asked_for_credit: false,
            host_done: 0,
            host_done_told: 0,
            guest_done: 0,
            guest_done_told: 0,
        }
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Ends it from this side, whatever it was doing.
    pub(crate) fn reset(&mut self) {
        self.stream = None;
        self.to_host = VecDeque::new();
        self.phase = match self.phase {
            Phase::Draining | Phase::Over => Phase::Over,
            Phase::Requested | Phase::Open | Phase::Reset => Phase::Reset,
        };
    }

    /// Its driver is gone and knows of no connection. What the guest had sent before is the
    /// host's all the same.
    pub(crate) fn abandon(&mut self) {
        self.phase = if self.owes_host() { Phase::Draining } else { Phase::Over };
        self.settle();
    }

    /// Whether there is something that the guest sent and the host end has not taken yet.
    pub(crate) fn owes_host(&self) -> bool {
        !self.to_host.is_empty()
    }

    /// Takes note of what happened to the host end.
    pub(crate) fn host_changed(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        if readiness.gone {
            match self.phase {
                Phase::Requested => self.reset(),
                _ => self.host_takes_no_more(),
            }
        }
        self.settle();
    }

    /// Takes a packet of the guest, whose data is `data`.
    pub(crate) fn guest_sent<M: GuestMemory>(
        &mut self,
        kind: Kind,
        header: &Header,
        data: &Buffers<'_, M>,
    ) {
        self.credit.learn(header);
        self.asked_for_credit = false;
        match (kind, self.phase) {
            (Kind::Reset, _) => self.guest_reset(),
            (_, Phase::Reset | Phase::Over | Phase::Draining) => {}
            (Kind::Response, Phase::Requested) => self.guest_accepted(),
            (Kind::CreditUpdate, _) => {}
            (Kind::CreditRequest, _) => self.owed.credit_update = true,
            (Kind::Shutdown, Phase::Open) => self.guest_done |= header.flags & SHUTDOWN_BOTH,
            (Kind::Data, Phase::Open)
                if self.guest_done & SHUTDOWN_SEND == 0 && self.credit.received(header.len) =>
            {
                self.take_data(data.pieces());
            }
            (Kind::Request | Kind::Response | Kind::Shutdown | Kind::Data, _) => self.reset(),
        }
        self.settle();
    }

    /// Whether there is anything that the guest should get, or might.
    pub(crate) fn has_work(&self) -> bool {
        match self.phase {
            Phase::Reset => true,
            Phase::Requested => self.owed.request,
            Phase::Open => {
                self.owed.response
                    || self.owed.credit_update
                    || self.host_done != self.host_done_told
                    || self.credit.is_news()
                    || self.may_read() && (self.credit.guest_room() > 0 || !self.asked_for_credit)
            }
            Phase::Draining | Phase::Over => false,
        }
    }

    /// The next packet for the guest, whose data, if any, is now in `room`.
    pub(crate) fn next_for_guest<M: GuestMemory>(
        &mut self,
        room: &mut Buffers<'_, M>,
    ) -> Option<Header> {
        let mut header = Header {
            src_cid: HOST_CID,
            dst_cid: self.guest_cid,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            kind: TYPE_STREAM,
            ..Header::default()
        };
        header.op = match self.phase {
            Phase::Reset => {
                self.phase = Phase::Over;
                op::RST
            }
            Phase::Requested if std::mem::take(&mut self.owed.request) => op::REQUEST,
            Phase::Open => self.next_while_open(&mut header, room)?,
            Phase::Requested | Phase::Draining | Phase::Over => return None,
        };
        self.credit.tell(&mut header);
        Some(header)
    }

    fn next_while_open<M: GuestMemory>(
        &mut self,
        header: &mut Header,
        room: &mut Buffers<'_, M>,
    ) -> Option<u16> {
        if std::mem::take(&mut self.owed.response) {
            return Some(op::RESPONSE);
        }
        if let Some(len) = self.read_host(room) {
            header.len = len;
            self.credit.sent(len);
            self.owed.credit_update = false;
            return Some(op::RW);
        }
        if self.host_done != self.host_done_told {
            self.host_done_told = self.host_done;
            header.flags = self.host_done;
            return Some(op::SHUTDOWN);
        }
        if self.may_read() && self.credit.guest_room() == 0 && !self.asked_for_credit {
            self.asked_for_credit = true;
            return Some(op::CREDIT_REQUEST);
        }
        if std::mem::take(&mut self.owed.credit_update) || self.credit.is_news() {
            return Some(op::CREDIT_UPDATE);
        }
        None
    }

    fn may_read(&self) -> bool {
        self.readable
            && self.stream.is_some()
            && self.host_done & SHUTDOWN_SEND == 0
            && self.guest_done & SHUTDOWN_RECEIVE == 0
    }

    /// Reads from the host end straight into guest memory. None: nothing is there.
    fn read_host<M: GuestMemory>(&mut self, room: &mut Buffers<'_, M>) -> Option<u32> {
        if !self.may_read() {
            return None;
        }
        let most = self.credit.guest_room().min(MAX_DATA) as usize;
        let most = most.min(room.len());
        if most == 0 {
            return None;
        }
        room.truncate(most).ok()?;
        let mut total = 0;
        for piece in room.pieces() {
            let mut piece = piece.clone();
            match self.read_piece::<M>(&mut piece) {
                Read::Bytes(len) => {
                    total += len;
                    if len < piece.len() {
                        break;
                    }
                }
                Read::Nothing => {
                    self.readable = false;
                    break;
                }
                Read::End => {
                    self.host_sends_no_more();
                    break;
                }
            }
        }
        // At most MAX_DATA, so it fits.
        u32::try_from(total).ok().filter(|&len| len > 0)
    }

    fn read_piece<M: GuestMemory>(&mut self, piece: &mut Piece<'_, M>) -> Read {
        let Some(stream) = &mut self.stream else { return Read::Nothing };
        loop {
            match io_result(stream.read_volatile(piece)) {
                Ok(0) => return Read::End,
                Ok(len) => return Read::Bytes(len),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
                Err(_) => {
                    self.host_takes_no_more();
                    return Read::End;
                }
            }
        }
    }

    /// Passes data on to the host end straight from guest memory, and keeps what it does not
    /// take.
    fn take_data<P: PieceOfData>(&mut self, pieces: &[P]) {
        for piece in pieces {
            let written = match self.to_host.is_empty() {
                true => self.write_piece(piece),
                false => 0,
            };
            if self.host_done & SHUTDOWN_RECEIVE != 0 {
                self.forwarded(piece.len() - written);
            } else if written < piece.len() {
                piece.append_to(&mut self.to_host, written);
            }
        }
    }

    fn write_piece<P: PieceOfData>(&mut self, piece: &P) -> usize {
        let mut written = 0;
        while written < piece.len() && self.writable && self.host_done & SHUTDOWN_RECEIVE == 0 {
            let Some(stream) = &mut self.stream else { break };
            match piece.write_to(stream, written) {
                Ok(len) => {
                    written += len;
                    self.forwarded(len);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.host_takes_no_more(),
            }
        }
        written
    }

    fn flush(&mut self) {
        while self.writable && !self.to_host.is_empty() {
            let Some(stream) = &mut self.stream else { return };
            match stream.write(self.to_host.as_slices().0) {
                Ok(len) => {
                    self.to_host.drain(..len);
                    self.forwarded(len);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.host_takes_no_more(),
            }
        }
        if self.to_host.is_empty() {
            // An idle connection holds no memory.
            self.to_host = VecDeque::new();
        }
    }

    fn forwarded(&mut self, len: usize) {
        // At most what the guest may send, so it fits.
        self.credit.forwarded(u32::try_from(len).unwrap_or(u32::MAX));
    }

    fn host_sends_no_more(&mut self) {
        self.host_done |= SHUTDOWN_SEND;
        self.close_if_done();
    }

    fn host_takes_no_more(&mut self) {
        self.host_done |= SHUTDOWN_RECEIVE;
        let lost = std::mem::take(&mut self.to_host).len();
        self.forwarded(lost);
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.host_done == SHUTDOWN_BOTH {
            self.stream = None;
        }
    }

    fn guest_accepted(&mut self) {
        self.phase = Phase::Open;
        let line = format!("OK {}\n", self.ports.host);
        let answered = self.stream.as_mut().map(|stream| stream.write(line.as_bytes()));
        // The first bytes of a connection always fit, unless its other end is gone.
        if !matches!(answered, Some(Ok(len)) if len == line.len()) {
            self.reset();
        }
    }

    fn guest_reset(&mut self) {
        let in_order = self.guest_done & SHUTDOWN_SEND != 0;
        self.phase = match in_order && !self.to_host.is_empty() {
            true => Phase::Draining,
            false => Phase::Over,
        };
    }

    /// Does what has become possible.
    fn settle(&mut self) {
        self.flush();
        if !self.to_host.is_empty() {
            return;
        }
        match self.phase {
            Phase::Draining => self.phase = Phase::Over,
            Phase::Open if self.guest_done == SHUTDOWN_BOTH => self.reset(),
            Phase::Open => self.tell_host(),
            Phase::Requested | Phase::Reset | Phase::Over => {}
        }
    }

    /// Shuts the host end down for what the guest is done with.
    fn tell_host(&mut self) {
        let news = self.guest_done & !self.guest_done_told;
        self.guest_done_told = self.guest_done;
        let Some(stream) = &self.stream else { return };
        for (flag, direction) in
            [(SHUTDOWN_SEND, Shutdown::Write), (SHUTDOWN_RECEIVE, Shutdown::Read)]
        {
            if news & flag != 0 {
                // Fails where the other end is gone, which shows as an event.
                let _ = stream.shutdown(direction);
            }
        }
    }
}

enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// Data in guest memory, whatever kind of guest memory it is.
trait PieceOfData {
    fn len(&self) -> usize;
    fn write_to(&self, stream: &mut UnixStream, from: usize) -> io::Result<usize>;
    fn append_to(&self, buffer: &mut VecDeque<u8>, from: usize);
}

impl<B: vm_memory::bitmap::BitmapSlice> PieceOfData for vm_memory::VolatileSlice<'_, B> {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn write_to(&self, stream: &mut UnixStream, from: usize) -> io::Result<usize> {
        io_result(self.offset(from).and_then(|rest| stream.write_volatile(&rest)))
    }

    fn append_to(&self, buffer: &mut VecDeque<u8>, from: usize) {
        let mut rest = vec![0; self.len() - from];
        // Both lie within this piece.
        if self.read_slice(&mut rest, from).is_ok() {
            buffer.extend(rest);
        }
    }
}

fn io_result(result: Result<usize, VolatileMemoryError>) -> io::Result<usize> {
    result.map_err(|e| match e {
        VolatileMemoryError::IOError(e) => e,
        other => io::Error::other(other),
    })
}
