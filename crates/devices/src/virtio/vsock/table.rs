//! All connections of a device, and which of them have something for the guest.

use std::collections::{HashMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::connection::{Connection, Phase, Ports};
use super::sockets::{FIRST_TOKEN, Token};

/// How many connections there can be at once, host programs that have not said what they
/// want included. Each takes a descriptor and, at worst, a full buffer.
pub(crate) const MAX_CONNECTIONS: usize = 1024;

/// Ports of the host ends of connections that host programs ask for begin here, above what
/// services use.
const FIRST_HOST_PORT: u32 = 1 << 30;

/// Whoever is at the other end of a Unix socket.
#[derive(Debug)]
pub(crate) enum Peer {
    /// A host program that has not said yet what it wants.
    Greeting(UnixStream),
    /// A connection.
    Connection(Box<Connection>),
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Until when it must have got further.
    deadline: Option<Instant>,
    scheduled: bool,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Table {
    entries: HashMap<Token, Entry>,
    by_ports: HashMap<Ports, Token>,
    schedule: VecDeque<Token>,
    next_token: u64,
    next_host_port: u32,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            by_ports: HashMap::new(),
            schedule: VecDeque::new(),
            next_token: FIRST_TOKEN,
            next_host_port: FIRST_HOST_PORT,
        }
    }

    /// Forgets all connections, except that what the guest sent still goes to the host, until
    /// `deadline`. Which tokens were used is not forgotten: what happened to a socket may still
    /// be told when it is closed.
    pub(crate) fn abandon(&mut self, deadline: Instant) {
        self.by_ports.clear();
        self.schedule.clear();
        self.entries.retain(|_, entry| {
            entry.scheduled = false;
            let Peer::Connection(connection) = &mut entry.peer else { return false };
            connection.abandon();
            entry.deadline.get_or_insert(deadline);
            connection.phase() == Phase::Draining
        });
    }

    /// Whether there is something that the guest sent and a host program has not taken yet.
    pub(crate) fn owes_host(&self) -> bool {
        let owes = |entry: &Entry| match &entry.peer {
            Peer::Connection(connection) => connection.owes_host(),
            Peer::Greeting(_) => false,
        };
        self.entries.values().any(owes)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_CONNECTIONS
    }

    /// A token that was never used.
    pub(crate) fn new_token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// A port of the host that no connection to `guest` uses.
    pub(crate) fn new_ports(&mut self, guest: u32) -> Ports {
        loop {
            let ports = Ports { host: self.next_host_port, guest };
            self.next_host_port = self.next_host_port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            // There are far fewer connections than ports.
            if !self.by_ports.contains_key(&ports) {
                return ports;
            }
        }
    }

    /// Puts a peer in, in the place of what had the token.
    pub(crate) fn insert(&mut self, token: Token, peer: Peer, deadline: Option<Instant>) {
        if let Peer::Connection(connection) = &peer {
            self.by_ports.insert(connection.ports(), token);
        }
        self.entries.insert(token, Entry { peer, deadline, scheduled: false });
        self.schedule(token);
    }

    pub(crate) fn find(&self, ports: Ports) -> Option<Token> {
        self.by_ports.get(&ports).copied()
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Peer> {
        self.entries.get_mut(&token).map(|entry| &mut entry.peer)
    }

    /// Does something with a connection, then puts it where it belongs.
    pub(crate) fn with<T>(
        &mut self,
        token: Token,
        action: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&token)?;
        let Peer::Connection(connection) = &mut entry.peer else { return None };
        let result = action(connection);
        if !matches!(connection.phase(), Phase::Requested | Phase::Draining) {
            entry.deadline = None;
        }
        match connection.phase() {
            Phase::Over => self.remove(token),
            _ => self.schedule(token),
        }
        Some(result)
    }

    pub(crate) fn remove(&mut self, token: Token) {
        drop(self.take(token));
    }

    /// Takes a peer out.
    pub(crate) fn take(&mut self, token: Token) -> Option<Peer> {
        let peer = self.entries.remove(&token)?.peer;
        if let Peer::Connection(connection) = &peer
            && self.by_ports.get(&connection.ports()) == Some(&token)
        {
            self.by_ports.remove(&connection.ports());
        }
        Some(peer)
    }

    /// The connection whose turn it is to give the guest something. It stays its turn.
    pub(crate) fn first_scheduled(&mut self) -> Option<Token> {
        while let Some(&token) = self.schedule.front() {
            if self.has_work(token) {
                return Some(token);
            }
            self.pass_on();
        }
        None
    }

    /// Ends the turn of the first; it gets another if it has more.
    pub(crate) fn next_turn(&mut self) {
        if let Some(token) = self.pass_on() {
            self.schedule(token);
        }
    }

    /// Ends the turn of the first; it has nothing until something happens to it.
    pub(crate) fn pass_on(&mut self) -> Option<Token> {
        let token = self.schedule.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&token) {
            entry.scheduled = false;
        }
        Some(token)
    }

    /// Removes what missed its deadline, and says when the next one is. A connection goes
    /// through a reset, so that the guest knows.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let late: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(&token, _)| token)
            .collect();
        for token in late {
            if self.with(token, Connection::reset).is_none() {
                self.remove(token);
            }
        }
        self.entries.values().filter_map(|entry| entry.deadline).min()
    }

    fn has_work(&self, token: Token) -> bool {
        match self.entries.get(&token).map(|entry| &entry.peer) {
            Some(Peer::Connection(connection)) => connection.has_work(),
            Some(Peer::Greeting(_)) | None => false,
        }
    }

    fn schedule(&mut self, token: Token) {
        if !self.has_work(token) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&token)
            && !entry.scheduled
        {
            entry.scheduled = true;
            self.schedule.push_back(token);
        }
    }
}
