//! What may leave a guest: the input is a list of frames in both directions, whose addresses and
//! ports mean something.
#![no_main]

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use microagent_devices::fence::{Fence, Rules, end_of_handshake};
use microagent_fuzz::{Input, limit_allocations};

/// What is awaited, frames of an input, and as much again.
const MAX_ALLOCATED: usize = 1 << 20;
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
/// Those, and what must not be reached or may.
const ADDRESSES: [Ipv4Addr; 8] = [
    GUEST,
    GATEWAY,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(0, 255, 0, 1),
];
const PORTS: [u16; 4] = [53, 5353, 1, 7000];
const PROTOCOLS: [u8; 4] = [1, 6, 17, 41];
/// The guest's port that the host may send to.
const PUBLISHED: u16 = 7000;
/// An answer may come so much later, and no more.
const AWAITED_FOR: Duration = Duration::from_secs(180);
/// No test of the fence itself takes as long as an input.
const STEP: Duration = Duration::from_secs(20);

fn address(input: &mut Input<'_>) -> Ipv4Addr {
    match usize::from(input.byte()) {
        known @ 0..0xf0 => ADDRESSES[known & 7],
        _ => Ipv4Addr::from(input.u32()),
    }
}

fn port(input: &mut Input<'_>) -> u16 {
    match usize::from(input.byte()) {
        known @ 0..0xf0 => PORTS[known & 3],
        _ => input.u16(),
    }
}

/// A frame that is one of IPv4 for the most part.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    let mut frame = vec![2; 12];
    match shape & 0xf {
        0 => frame.extend([0x08, 0x06]),
        1 => frame.extend(input.array::<2>()),
        2 => frame.truncate(usize::from(input.byte() & 15)),
        _ => frame.extend([0x08, 0x00]),
    }
    let words = if shape & 0x10 == 0 { 5 } else { input.byte() & 15 };
    let version = if shape & 0x20 == 0 { 4 } else { input.byte() & 15 };
    let mut packet = vec![0; 20];
    packet[0] = version << 4 | words;
    packet[9] = PROTOCOLS[usize::from(input.byte() & 3)];
    packet[12..16].copy_from_slice(&address(input).octets());
    packet[16..20].copy_from_slice(&address(input).octets());
    packet.resize((usize::from(words) * 4).max(20), 0);
    packet.extend(port(input).to_be_bytes());
    packet.extend(port(input).to_be_bytes());
    packet.extend(input.array::<8>());
    packet.extend([5 << 4, input.byte()]);
    packet.extend(input.array::<6>());
    packet
        .truncate(packet.len() - usize::from(input.byte()).saturating_sub(0xc0).min(packet.len()));
    frame.extend(packet);
    frame
}

/// What is known of a packet by its plain offsets, where it has all of them.
struct Seen<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    rest: &'a [u8],
}

fn seen(frame: &[u8]) -> Option<Seen<'_>> {
    let packet = frame.get(14..).filter(|_| frame[12..14] == [0x08, 0x00])?;
    let octets =
        |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let (from, to) = (octets(12)?, octets(16)?);
    let rest = packet.get(usize::from(packet[0] & 15) * 4..)?;
    Some(Seen { from, to, protocol: packet[9], rest })
}

fn ports(rest: &[u8]) -> Option<(u16, u16)> {
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    Some((port(0)?, port(2)?))
}

/// The sum of words of which the last is the sum of the others is nothing (RFC 1071).
fn sums_up(bytes: &[u8]) -> bool {
    let words = bytes.chunks(2).map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])));
    words.sum::<u64>() % 0xffff == 0
}

fn judge_answer(frame: &[u8]) {
    let Some(answer) = end_of_handshake(frame) else { return };
    let (asked, answered) = (seen(frame).expect("IPv4"), seen(&answer).expect("IPv4"));
    assert_eq!((answered.from, answered.to), (asked.to, asked.from));
    assert_eq!((asked.protocol, answered.protocol), (6, 6));
    let turned = ports(asked.rest).map(|(from, to)| (to, from));
    assert_eq!(ports(answered.rest), turned);
    assert_eq!((asked.rest[13] & 0x12, answered.rest[13]), (0x12, 0x10));
    assert!(sums_up(&answer[14..34]));
    let segment = [&answer[26..34], &[0, 6, 0, 20], answered.rest].concat();
    assert!(sums_up(&segment));
}

/// Whether a packet that was let out is one that may be, by what the documentation says.
fn judge(packet: &Seen<'_>, resolver: bool, awaited: &HashMap<(u16, u16), Instant>, now: Instant) {
    let Seen { from, to, protocol, rest } = packet;
    assert_eq!(*from, GUEST);
    assert!(!to.is_loopback() && !to.is_multicast() && !to.is_broadcast() && to.octets()[0] != 0);
    if *to != GATEWAY {
        return;
    }
    match protocol {
        1 => {}
        6 => assert_ne!(rest[13] & 0x12, 0x02, "it opens a connection to the host"),
        17 => {
            let (source, destination) = ports(rest).expect("a datagram has ports");
            let answers = awaited.get(&(source, destination)).is_some_and(|until| now < *until);
            assert!(answers || resolver && destination == 53);
        }
        other => panic!("protocol {other} to the host"),
    }
}

fuzz_target!(init: limit_allocations(MAX_ALLOCATED), |data: &[u8]| {
    let mut input = Input::new(data);
    let how = input.byte();
    let udp = if how & 1 == 0 { vec![PUBLISHED] } else { Vec::new() };
    let resolver = how & 2 == 0;
    let rules = Rules { address: GUEST, gateway: GATEWAY, udp: udp.clone(), resolver };
    let mut fence = Fence::new(rules);
    let mut now = Instant::now();
    // At least what the fence still awaits: it may forget the oldest.
    let mut awaited = HashMap::new();
    while !input.is_empty() {
        let what = input.byte();
        now += STEP * u32::from(what >> 4);
        let frame = frame(&mut input);
        judge_answer(&frame);
        let packet = seen(&frame);
        if what & 1 == 0 {
            fence.note_in(&frame, now);
            if let Some(Seen { from: GATEWAY, protocol: 17, rest, .. }) = packet
                && let Some((host, guest)) = ports(rest)
                && udp.contains(&guest)
            {
                awaited.insert((guest, host), now + AWAITED_FOR);
            }
        } else if fence.lets_out(&frame, now) {
            let kind = frame.get(12..14).expect("a frame has a type");
            match packet {
                Some(packet) => judge(&packet, resolver, &awaited, now),
                None => assert_eq!(kind, [0x08, 0x06]),
            }
        }
    }
});
