use proptest::prelude::{any, proptest};

use super::*;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn rules() -> Rules {
    Rules { address: GUEST, gateway: GATEWAY, udp: vec![5353], resolver: false }
}

fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), payload].concat()
}

fn ip(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    frame(IPV4, &[&header[..], payload].concat())
}

fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    ip(from.0, to.0, UDP, &[&ports[..], b"1234"].concat())
}

fn tcp(to: Ipv4Addr, flags: u8) -> Vec<u8> {
    let mut header = [0; 20];
    header[13] = flags;
    ip(GUEST, to, TCP, &header)
}

fn check(frame: &[u8], expect: bool) {
    let fence = Fence::new(rules());
    assert_eq!(fence.lets_out(frame, Instant::now()), expect, "{frame:?}");
}

#[test]
fn only_arp_and_ipv4_pass() {
    check(&frame(ARP, &[0; 28]), true);
    check(&tcp(ELSEWHERE, SYN), true);
    check(&frame(0x86dd, &[0x60; 60]), false);
    check(&frame(0x8100, &[0; 60]), false);
    check(&[], false);
    check(&[2; 13], false);
}

#[test]
fn only_from_the_guest_and_only_to_another_host() {
    let to = |a, b, c, d| udp((GUEST, 1), (Ipv4Addr::new(a, b, c, d), 80));
    check(&to(192, 0, 2, 1), true);
    check(&to(10, 0, 0, 1), true);
    check(&to(126, 255, 255, 255), true);
    check(&to(223, 255, 255, 255), true);
    check(&to(127, 0, 0, 1), false);
    check(&to(127, 255, 255, 254), false);
    check(&to(0, 0, 0, 0), false);
    check(&to(0, 1, 2, 3), false);
    check(&to(224, 0, 0, 251), false);
    check(&to(255, 255, 255, 255), false);
    check(&udp((ELSEWHERE, 1), (ELSEWHERE, 80)), false);
    check(&udp((Ipv4Addr::LOCALHOST, 1), (ELSEWHERE, 80)), false);
}

#[test]
fn nothing_is_opened_at_the_gateway() {
    check(&tcp(GATEWAY, SYN), false);
    check(&tcp(GATEWAY, SYN | 0xc8), false);
    check(&tcp(GATEWAY, SYN | ACK), true);
    check(&tcp(GATEWAY, ACK), true);
    check(&tcp(GATEWAY, 0), true);
    check(&ip(GUEST, GATEWAY, TCP, &[0; 13]), false);
    check(&ip(GUEST, GATEWAY, ICMP, &[8, 0]), true);
    check(&ip(GUEST, GATEWAY, 132, &[0; 20]), false);
    check(&udp((GUEST, 5353), (GATEWAY, 9)), false);
    check(&udp((GUEST, 1), (GATEWAY, 53)), false);
    // Options move what follows, and a header that claims too many is none.
    let mut options = tcp(GATEWAY, 0);
    options[ETHERNET] = 0x46;
    options.splice(34..34, [1, 1, 1, 1]);
    check(&options, true);
    options[34 + 4 + 13] = SYN;
    check(&options, false);
    options[ETHERNET] = 0x4f;
    check(&options, false);
    options[ETHERNET] = 0x44;
    check(&options, false);
}

#[test]
fn a_resolver_is_asked_at_one_port() {
    let fence = Fence::new(Rules { resolver: true, ..rules() });
    let check = |frame: &[u8], expect| {
        assert_eq!(fence.lets_out(frame, Instant::now()), expect, "{frame:?}");
    };
    check(&udp((GUEST, 40000), (GATEWAY, 53)), true);
    check(&udp((GUEST, 53), (GATEWAY, 54)), false);
    check(&tcp(GATEWAY, SYN), false);
}

#[test]
fn what_the_host_sent_can_be_answered_for_a_while() {
    let mut fence = Fence::new(rules());
    let now = Instant::now();
    let answer = |port| udp((GUEST, 5353), (GATEWAY, port));
    fence.note_in(&udp((GATEWAY, 40000), (GUEST, 5353)), now);
    // Neither of these is a datagram of the host to a published port.
    fence.note_in(&udp((GATEWAY, 40001), (GUEST, 5354)), now);
    fence.note_in(&udp((ELSEWHERE, 40002), (GUEST, 5353)), now);
    assert!(fence.lets_out(&answer(40000), now));
    assert!(!fence.lets_out(&udp((GUEST, 5354), (GATEWAY, 40000)), now));
    assert!(!fence.lets_out(&answer(40001), now));
    assert!(!fence.lets_out(&answer(40002), now));
    assert!(fence.lets_out(&answer(40000), now + ANSWER_WITHIN - Duration::from_secs(1)));
    assert!(!fence.lets_out(&answer(40000), now + ANSWER_WITHIN));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut fence = Fence::new(rules());
    let now = Instant::now();
    for port in 1..=u16::MAX {
        fence.note_in(&udp((GATEWAY, port), (GUEST, 5353)), now);
        fence.note_in(&udp((GATEWAY, port), (GUEST, 5353)), now);
    }
    assert_eq!(fence.awaited.len(), MAX_AWAITED);
    assert!(fence.lets_out(&udp((GUEST, 5353), (GATEWAY, u16::MAX)), now));
    assert!(!fence.lets_out(&udp((GUEST, 5353), (GATEWAY, 1)), now));
}

proptest! {
    #[test]
    fn whatever_it_is_it_does_not_reach_the_loopback(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), last: u8, options in 0..16u8,
    ) {
        let to = Ipv4Addr::new(127, 0, 0, last);
        let mut frame = ip(GUEST, to, 0, &bytes);
        frame[ETHERNET] = 0x40 | options;
        let mut fence = Fence::new(Rules { resolver: true, ..rules() });
        fence.note_in(&frame, Instant::now());
        fence.note_in(&bytes, Instant::now());
        assert!(!fence.lets_out(&frame, Instant::now()));
        let _ = fence.lets_out(&bytes, Instant::now());
    }
}
