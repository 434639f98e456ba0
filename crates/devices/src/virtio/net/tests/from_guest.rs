//! Frames from the guest to the host.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::driver::{Guest, TX, frame, guest_memory, receive};
use crate::testing::Buffer;
use crate::virtio::device::{Counters, VirtioDevice};
use crate::virtio::net::{HEADER_LEN, HostEnd, MAX_FRAME, MIN_FRAME, QUEUE_TX};

#[test]
fn one_after_the_other() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let mut total = 0;
    let lens = [MIN_FRAME, 60, 1514, 9014, 65534, MAX_FRAME];
    for (n, len) in lens.into_iter().enumerate() {
        let sent = frame(len, n as u8);
        let head = guest.send(&sent);
        assert_eq!(receive(&mut host), sent, "{len} bytes");
        assert_eq!(guest.tx.take_used(), Some((head, 0)));
        assert_eq!(guest.interrupt.take_used(QUEUE_TX), 1);
        total += len as u64;
    }
    let counters = Counters { chains: 6, bytes_from_guest: total, ..Counters::default() };
    assert_eq!(guest.device.counters(), counters);
}

#[test]
fn pieces_anywhere() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let mut check = |lens: &[u32]| {
        let sent = frame(lens.iter().sum::<u32>() as usize - HEADER_LEN, 3);
        guest.put(TX, &[0; HEADER_LEN]);
        guest.put(TX + HEADER_LEN as u64, &sent);
        let mut at = TX;
        let pieces = lens.iter().map(|len| {
            at += u64::from(*len);
            Buffer::Readable(at - u64::from(*len), *len)
        });
        let pieces: Vec<_> = pieces.collect();
        guest.tx.offer(&pieces);
        guest.device.queue_kicked(QUEUE_TX).unwrap();
        assert_eq!(receive(&mut host), sent, "{lens:?}");
    };
    check(&[12, 60]);
    check(&[1, 11, 60]);
    check(&[13, 59]);
    check(&[12, 0, 60]);
    check(&[12, 14, 1, 1, 1, 40, 1400]);
    check(&[1024; 64]);
}

#[test]
fn many_with_one_kick() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let sent = frame(100, 1);
    guest.put(TX, &[0; HEADER_LEN]);
    guest.put(TX + 12, &sent);
    for _ in 0..200 {
        guest.tx.offer(&[Buffer::Readable(TX, 112)]);
    }
    guest.device.queue_kicked(QUEUE_TX).unwrap();
    (0..200).for_each(|_| assert_eq!(receive(&mut host), sent));
    assert_eq!(guest.interrupt.take_used(QUEUE_TX), 1);
    assert_eq!(std::iter::from_fn(|| guest.tx.take_used()).count(), 200);
}

/// Sends until the host takes no more, and says how many frames that were.
fn fill(guest: &mut Guest<'_>, len: usize) -> u8 {
    for n in 0.. {
        guest.put(TX + u64::from(n) * 0x1_0100, &[0; HEADER_LEN]);
        let at = TX + u64::from(n) * 0x1_0100;
        guest.put(at + HEADER_LEN as u64, &frame(len, n));
        guest.tx.offer(&[Buffer::Readable(at, (HEADER_LEN + len) as u32)]);
        guest.device.queue_kicked(QUEUE_TX).unwrap();
        if guest.tx.take_used().is_none() {
            return n;
        }
    }
    unreachable!("a socket has room for everything");
}

#[test]
fn a_host_that_does_not_read() {
    let memory = guest_memory();
    let check = |len: usize| {
        let (mut guest, mut host) = Guest::new(&memory);
        let taken = fill(&mut guest, len);
        assert!(guest.tx.take_used().is_none());
        // A kick changes nothing.
        guest.device.queue_kicked(QUEUE_TX).unwrap();
        assert!(guest.tx.take_used().is_none());
        // The host reads byte by byte at first, in the middle of frames.
        let mut got = vec![0; 777];
        got.iter_mut().for_each(|byte| host.read_exact(std::slice::from_mut(byte)).unwrap());
        host.set_nonblocking(true).unwrap();
        let expect =
            (0..=taken).map(|n| [&(len as u32).to_be_bytes()[..], &frame(len, n)].concat());
        let expect = expect.collect::<Vec<_>>().concat();
        while got.len() < expect.len() {
            let before = got.len();
            let _ = host.read_to_end(&mut got);
            assert!(got.len() > before, "{} of {} bytes", got.len(), expect.len());
            guest.device.host_ready(0).unwrap();
        }
        assert!(got == expect, "{len} bytes");
        assert!(guest.tx.take_used().is_some());
        host.set_nonblocking(false).unwrap();
        guest.still_works(&mut host);
    };
    check(65534);
    check(20_001);
    check(8192);
}

#[test]
fn the_rest_of_a_frame_outlives_a_reset() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let taken = fill(&mut guest, 65000);
    let features = guest.device.features();
    guest.activate(features);
    // All that was taken comes whole, and then what the guest sends now; the frame that was
    // not taken is forgotten.
    host.set_nonblocking(true).unwrap();
    let mut got = Vec::new();
    let (len, all) = (65004, usize::from(taken) * 65004);
    while got.len() < all {
        let before = got.len();
        let _ = host.read_to_end(&mut got);
        assert!(got.len() > before, "{} of {all} bytes", got.len());
        guest.settle();
    }
    for (n, framed) in (0..).zip(got.chunks(len)) {
        assert!(framed[4..] == frame(65000, n));
    }
    host.set_nonblocking(false).unwrap();
    guest.still_works(&mut host);
}

#[test]
fn a_tap_device() {
    // Boundaries are kept, as a tap device does.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let memory = guest_memory();
    let mut guest = Guest::with_host(&memory, HostEnd::Tap(OwnedFd::from(ours)));
    let mut got = vec![0; 70_000];
    for len in [60, 1514, MAX_FRAME] {
        let sent = frame(len, 9);
        guest.send(&sent);
        let count = theirs.recv(&mut got).unwrap();
        assert!(got[..count] == sent, "{len} bytes");
        assert!(guest.tx.take_used().is_some());
    }
    // One that takes no more for now.
    let (mut sent, mut taken) = (0u32, 0u32);
    loop {
        guest.send(&frame(60, sent as u8));
        if guest.tx.take_used().is_none() {
            break;
        }
        sent += 1;
    }
    theirs.set_nonblocking(true).unwrap();
    while taken <= sent {
        let count = theirs.recv(&mut got).unwrap();
        // All but the last were overwritten in memory only after they were taken.
        assert_eq!(got[..count], frame(60, taken as u8));
        taken += 1;
        guest.device.host_ready(0).unwrap();
    }
    assert!(guest.tx.take_used().is_some());
}
