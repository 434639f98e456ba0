//! Frames from the host to the guest.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use proptest::prelude::{ProptestConfig, proptest};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;

use super::driver::{Guest, SIZE, frame, guest_memory, send};
use crate::virtio::device::{Counters, VirtioDevice};
use crate::virtio::net::{HostEnd, MAX_FRAME, QUEUE_RX};

/// What a driver that does not merge accepts.
const PLAIN: u64 = 1 << VIRTIO_F_VERSION_1;

#[test]
fn one_buffer_each() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    guest.activate(PLAIN);
    guest.offer(4, 1526);
    guest.kick_rx();
    assert_eq!(guest.interrupt.take_used(QUEUE_RX), 0);
    for len in [14, 60, 1000, 1514] {
        let sent = frame(len, len as u8);
        send(&mut host, &sent);
        guest.device.host_ready(0).unwrap();
        assert_eq!(guest.interrupt.take_used(QUEUE_RX), 1, "{len} bytes");
        assert_eq!(guest.take(), Some((sent, 1)), "{len} bytes");
    }
    let bytes = 14 + 60 + 1000 + 1514;
    let counters = Counters { chains: 4, bytes_to_guest: bytes, ..Counters::default() };
    assert_eq!(guest.device.counters(), counters);
}

#[test]
fn several_buffers_for_one() {
    let memory = guest_memory();
    let check = |len: usize, buffer: u32, expect: u16| {
        let (mut guest, mut host) = Guest::new(&memory);
        guest.offer(usize::from(SIZE) / 3, buffer);
        guest.kick_rx();
        let sent = frame(len, 1);
        host.set_nonblocking(true).unwrap();
        send(&mut host, &sent);
        guest.device.host_ready(0).unwrap();
        assert_eq!(guest.interrupt.take_used(QUEUE_RX), 1);
        let (got, count) = guest.take().unwrap();
        assert!(got == sent, "{len} bytes");
        assert_eq!(count, expect, "{len} bytes in buffers of {buffer}");
        guest.still_works_one_way(&mut host);
    };
    check(1514, 1526, 1);
    check(1514, 1525, 2);
    check(14, 12, 3);
    check(52, 16, 4);
    check(65534, 1536, 43);
    check(65534, 4096, 17);
    check(MAX_FRAME, 65536, 2);
    check(MAX_FRAME, 65565, 1);
}

#[test]
fn many_at_once() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    for n in 0..80 {
        send(&mut host, &frame(200 + usize::from(n), n));
    }
    guest.device.host_ready(0).unwrap();
    assert_eq!(guest.take(), None);
    guest.offer(80, 1600);
    guest.kick_rx();
    assert_eq!(guest.interrupt.take_used(QUEUE_RX), 1);
    for n in 0..80 {
        assert_eq!(guest.take(), Some((frame(200 + usize::from(n), n), 1)));
    }
}

#[test]
fn a_guest_without_room() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    // It keeps what fits its own buffer; the rest waits with the host.
    host.set_nonblocking(true).unwrap();
    let stuffed = (0..1000).take_while(|n| {
        let framed = [&30_000u32.to_be_bytes()[..], &frame(30_000, *n as u8)].concat();
        let whole = host.write(&framed).is_ok_and(|len| len == framed.len());
        guest.device.host_ready(0).unwrap();
        whole
    });
    let stuffed = stuffed.count();
    assert!((5..100).contains(&stuffed), "{stuffed} frames");
    for n in 0..stuffed {
        // One buffer after the other: the frame comes with the last of them.
        while guest.take_ready(30_000, n as u8).is_none() {
            guest.offer(1, 9000);
            guest.kick_rx();
        }
        guest.device.host_ready(0).unwrap();
    }
}

#[test]
fn kicks_are_wanted_for_what_is_not_there_yet() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    send(&mut host, &frame(3000, 1));
    guest.offer(2, 1200);
    guest.kick_rx();
    guest.device.host_ready(0).unwrap();
    assert_eq!(guest.take(), None);
    // `avail_event`: the driver says so with the third buffer, not with one it has given.
    let event = guest.rx.addresses()[2] + 4 + 8 * u64::from(SIZE);
    assert_eq!(guest.get(event, 2), 2u16.to_le_bytes());
    guest.offer(1, 1200);
    guest.kick_rx();
    assert_eq!(guest.take(), Some((frame(3000, 1), 3)));
}

#[test]
fn frames_that_are_dropped() {
    let memory = guest_memory();
    let check = |features: Option<u64>, buffers: (usize, u32), len: usize| {
        let (mut guest, mut host) = Guest::new(&memory);
        if let Some(features) = features {
            guest.activate(features);
        }
        guest.offer(buffers.0, buffers.1);
        guest.kick_rx();
        send(&mut host, &frame(len, 1));
        send(&mut host, &frame(50, 2));
        guest.device.host_ready(0).unwrap();
        let (got, _) = guest.take().unwrap();
        assert_eq!(got, frame(50, 2), "{len} bytes");
        assert_eq!(guest.device.metrics().dropped_to_guest, 1);
        assert_eq!(guest.device.metrics().malformed, 0);
    };
    // None at all.
    check(None, (3, 1600), 0);
    check(None, (3, 1600), 13);
    // Too long for the one buffer that it may be in.
    check(Some(PLAIN), (3, 1526), 1515);
    // Too long for all that there can be: 85 chains of three descriptors fill the table.
    check(Some(PLAIN), (85, 1526), 65535);
}

#[test]
fn too_long_for_a_queue_of_buffers() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    // One descriptor each, so that all of them are in the queue at once.
    guest.offer_single(usize::from(SIZE), 64);
    guest.kick_rx();
    send(&mut host, &frame(64 * 256, 1));
    send(&mut host, &frame(52, 2));
    guest.device.host_ready(0).unwrap();
    assert_eq!(guest.take(), Some((frame(52, 2), 1)));
    assert_eq!(guest.device.metrics().dropped_to_guest, 1);
}

#[test]
fn a_tap_device() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let memory = guest_memory();
    let mut guest = Guest::with_host(&memory, HostEnd::Tap(OwnedFd::from(ours)));
    for len in [60, 1514, 9000, MAX_FRAME] {
        theirs.send(&frame(len, 1)).unwrap();
    }
    guest.device.host_ready(0).unwrap();
    for len in [60, 1514, 9000, MAX_FRAME] {
        // Each is held until there is room.
        while guest.take_ready(len, 1).is_none() {
            guest.offer(1, 4096);
            guest.kick_rx();
        }
    }
    assert_eq!(guest.device.metrics().frames_to_guest, 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whole_and_in_order(
        lens in proptest::collection::vec(14usize..9000, 1..10),
        buffers in proptest::collection::vec(12u32..3000, 1..10),
    ) {
        let memory = guest_memory();
        let (mut guest, mut host) = Guest::new(&memory);
        host.set_nonblocking(true).unwrap();
        for (n, len) in lens.iter().enumerate() {
            send(&mut host, &frame(*len, n as u8));
        }
        let mut sizes = buffers.iter().copied().chain([3000]).cycle();
        guest.device.host_ready(0).unwrap();
        for (n, len) in lens.iter().enumerate() {
            while guest.take_ready(*len, n as u8).is_none() {
                guest.offer_single(1, sizes.next().unwrap());
                guest.kick_rx();
            }
        }
        assert!(guest.take().is_none());
    }
}

impl Guest<'_> {
    /// The next frame, which is to be this one, if it is there.
    fn take_ready(&mut self, len: usize, seed: u8) -> Option<()> {
        let (got, _) = self.take()?;
        assert!(got == frame(len, seed), "{} bytes, expected {len}", got.len());
        Some(())
    }

    fn still_works_one_way(&mut self, host: &mut std::os::unix::net::UnixStream) {
        send(host, &frame(14, 8));
        self.device.host_ready(0).unwrap();
        assert_eq!(self.take().map(|(got, _)| got), Some(frame(14, 8)));
    }
}
