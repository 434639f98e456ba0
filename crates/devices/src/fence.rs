//! What may pass from a guest to a process that opens sockets of the host for it.
//!
//! Such a process connects to whatever address a frame names, and not each version of passt
//! keeps 127.0.0.1 and 0.0.0.0 back, which a guest can send like any other address. Nor does
//! each tell the answer to a datagram of the host from a datagram to the host's loopback. So
//! it is told of nothing that it must not see: every frame is looked at here, in memory that
//! the guest cannot change any more.

mod handshake;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub use handshake::end_of_handshake;

/// How long a guest may answer a datagram. As long as NAT devices remember one that has been
/// answered (RFC 4787, 4.3: at least two minutes).
const ANSWER_WITHIN: Duration = Duration::from_secs(180);
/// How many datagrams of different peers may await their answers at once.
const MAX_AWAITED: usize = 1024;

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// Types of Ethernet frames.
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
/// Protocols of IPv4.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of TCP, in its byte 13.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// The port of DNS.
const DOMAIN: u16 = 53;

/// What is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The guest's address: nothing from any other passes.
    pub address: Ipv4Addr,
    /// The address that stands for the host: what goes there opens nothing.
    pub gateway: Ipv4Addr,
    /// The guest's UDP ports that the host may send to, and so may get answers from.
    pub udp: Vec<u16>,
    /// Whether the guest may send to UDP port 53 of the gateway.
    pub resolver: bool,
}

/// Looks at frames in both directions.
#[derive(Debug)]
pub struct Fence {
    rules: Rules,
    awaited: VecDeque<Awaited>,
}

/// A datagram of the host that the guest may answer.
#[derive(Debug)]
struct Awaited {
    guest: u16,
    host: u16,
    until: Instant,
}

/// A packet of IPv4 as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    payload: &'a [u8],
}

impl Fence {
    /// A fence with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, awaited: VecDeque::new() }
    }

    /// Whether a frame of the guest may pass.
    pub fn lets_out(&self, frame: &[u8], now: Instant) -> bool {
        match kind(frame) {
            Some(ARP) => true,
            Some(IPV4) => packet(frame).is_some_and(|packet| self.lets_packet_out(packet, now)),
            _ => false,
        }
    }

    /// Takes note of a frame for the guest, all of which pass.
    pub fn note_in(&mut self, frame: &[u8], now: Instant) {
        if self.rules.udp.is_empty() {
            return;
        }
        let Some(packet) = (kind(frame) == Some(IPV4)).then(|| packet(frame)).flatten() else {
            return;
        };
        if let (UDP, true, Some((host, guest))) =
            (packet.protocol, packet.from == self.rules.gateway, ports(packet.payload))
            && self.rules.udp.contains(&guest)
        {
            self.await_answer(guest, host, now);
        }
    }

    fn await_answer(&mut self, guest: u16, host: u16, now: Instant) {
        let until = now + ANSWER_WITHIN;
        let known = self.awaited.iter_mut().find(|a| (a.guest, a.host) == (guest, host));
        if let Some(known) = known {
            known.until = until;
            return;
        }
        if self.awaited.len() == MAX_AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back(Awaited { guest, host, until });
    }

    fn lets_packet_out(&self, packet: Packet<'_>, now: Instant) -> bool {
        let Packet { from, to, protocol, payload } = packet;
        if from != self.rules.address || !is_another_host(to) {
            return false;
        }
        if to != self.rules.gateway {
            return true;
        }
        match protocol {
            ICMP => true,
            TCP => payload.get(13).is_some_and(|flags| flags & (SYN | ACK) != SYN),
            UDP => ports(payload).is_some_and(|ports| self.lets_datagram_out(ports, now)),
            _ => false,
        }
    }

    fn lets_datagram_out(&self, (from, to): (u16, u16), now: Instant) -> bool {
        (self.rules.resolver && to == DOMAIN)
            || self.awaited.iter().any(|a| (a.guest, a.host) == (from, to) && now < a.until)
    }
}

/// Whether an address can be one of another host: neither "this network" (RFC 1122, 3.2.1.3),
/// which a socket takes for the loopback, nor the loopback itself, nor one of many hosts.
fn is_another_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn kind(frame: &[u8]) -> Option<u16> {
    frame.get(12..ETHERNET).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
}

/// The packet in a frame, read as passt does it: fragments are looked at like whole ones.
fn packet(frame: &[u8]) -> Option<Packet<'_>> {
    let packet = frame.get(ETHERNET..)?;
    let header = packet.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_len < header.len() {
        return None;
    }
    let [.., a, b, c, d, e, f, g, h] = *header;
    Some(Packet {
        from: Ipv4Addr::new(a, b, c, d),
        to: Ipv4Addr::new(e, f, g, h),
        protocol: header[9],
        payload: packet.get(header_len..)?,
    })
}

/// Source and destination.
fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = payload.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests;
