//! The end of a TCP handshake that was begun from outside.
//!
//! A passt from before September 2023, as Debian 12 has, does not acknowledge the answer of a
//! guest to a connection from a published port until either end says something. A server of
//! the guest that speaks first never does, since its kernel hands it no connection that is not
//! acknowledged, and so both ends wait for ever. So the answer is acknowledged here as well; the
//! same from passt is then one of two.

use std::net::Ipv4Addr;

use super::{ACK, ETHERNET, IPV4, Packet, SYN, TCP, kind, packet};

/// Length of a header of IPv4 without options.
const IP: usize = 20;
/// Length of a header of TCP without options.
const HEADER: usize = 20;
/// How many hops the acknowledgement may go; it goes none.
const HOPS: u8 = 64;
/// How much the guest may send until passt itself says how much, in the units of the scale
/// that passt offers, which is at most 2^8 bytes.
const WINDOW: u16 = 256;

/// The frame with which a handshake ends whose second part is this frame of the guest; `None`
/// for every other frame.
pub fn end_of_handshake(frame: &[u8]) -> Option<[u8; ETHERNET + IP + HEADER]> {
    let Packet { from, to, protocol, payload } =
        (kind(frame) == Some(IPV4)).then(|| packet(frame)).flatten()?;
    let header = payload.first_chunk::<HEADER>()?;
    if protocol != TCP || header[13] & (SYN | ACK) != SYN | ACK {
        return None;
    }
    let &[p0, p1, q0, q1, s0, s1, s2, s3, a0, a1, a2, a3, ..] = header;
    let expects = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(1).to_be_bytes();
    let mut tcp = [0; HEADER];
    tcp[..8].copy_from_slice(&[q0, q1, p0, p1, a0, a1, a2, a3]);
    tcp[8..12].copy_from_slice(&expects);
    tcp[12..14].copy_from_slice(&[(HEADER as u8 / 4) << 4, ACK]);
    tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    let sum = checksum(&[&pseudo_header(to, from)[..], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());

    let mut answer = [0; ETHERNET + IP + HEADER];
    let (ethernet, rest) = answer.split_at_mut(ETHERNET);
    ethernet[..6].copy_from_slice(&frame[6..12]);
    ethernet[6..12].copy_from_slice(&frame[..6]);
    ethernet[12..].copy_from_slice(&IPV4.to_be_bytes());
    rest[..IP].copy_from_slice(&ip_header(to, from));
    rest[IP..].copy_from_slice(&tcp);
    Some(answer)
}

/// The header of the packet (RFC 791, 3.1).
fn ip_header(from: Ipv4Addr, to: Ipv4Addr) -> [u8; IP] {
    let mut header = [0; IP];
    header[0] = 4 << 4 | (IP as u8 / 4);
    header[3] = (IP + HEADER) as u8;
    header[8..10].copy_from_slice(&[HOPS, TCP]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// What precedes a segment where its sum is made (RFC 9293, 3.1).
fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr) -> [u8; 12] {
    let ([a, b, c, d], [e, f, g, h]) = (from.octets(), to.octets());
    [a, b, c, d, e, f, g, h, 0, TCP, 0, HEADER as u8]
}

/// The sum of the Internet (RFC 1071) of bytes, of which there are even and few.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// What a guest answered to a connection from port 45120.
    const SECOND: &str = "020000000001 020000000002 0800
        45000030 00004000 400626c6 0affff02 0affff01
        0007b040 72a51421 4bc11d2c 7012ffc8 d62f0000 0204ffc801030304";

    #[test]
    fn the_second_part_is_answered() {
        let answer = end_of_handshake(&bytes(SECOND)).unwrap();
        let expect = "020000000002 020000000001 0800
            45000028 00000000 400666ce 0affff01 0affff02
            b0400007 4bc11d2c 72a51422 50100100 fad50000";
        assert_eq!(answer[..], bytes(expect));
    }

    #[test]
    fn nothing_else_is() {
        let check = |at: usize, byte: u8| {
            let mut frame = bytes(SECOND);
            frame[at] = byte;
            assert_eq!(end_of_handshake(&frame), None, "{at}");
        };
        check(13, 6); // ARP
        check(14, 0x65);
        check(14, 0x4f); // options that are longer than it
        check(23, 17); // UDP
        check(47, SYN);
        check(47, ACK);
        assert_eq!(end_of_handshake(&bytes(SECOND)[..53]), None);
        assert_eq!(end_of_handshake(&[]), None);
    }
}
