//! What no driver in its senses does. The device goes on, or stops until it is reset.

use proptest::prelude::{ProptestConfig, any, proptest};
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::driver::{Guest, RX, TX, frame, guest_memory, receive, send};
use crate::testing::{Buffer, Descriptor};
use crate::virtio::device::{DeviceError, VirtioDevice};
use crate::virtio::net::{HEADER_LEN, MAX_FRAME, QUEUE_RX, QUEUE_TX};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

#[test]
fn frames_that_are_none() {
    let check = |descriptors: &[(u64, u32, u16, u16)]| {
        let memory = guest_memory();
        let (mut guest, mut host) = Guest::new(&memory);
        for (index, &(address, len, flags, next)) in (40..).zip(descriptors) {
            guest.tx.put(index, Descriptor { address, len, flags, next });
        }
        guest.tx.publish(40);
        guest.device.queue_kicked(QUEUE_TX).unwrap();
        assert_eq!(guest.tx.take_used(), Some((40, 0)), "{descriptors:x?}");
        assert_eq!(guest.device.counters().malformed, 1, "{descriptors:x?}");
        guest.still_works(&mut host);
    };
    check(&[(TX, 0, 0, 0)]);
    check(&[(TX, 11, 0, 0)]);
    check(&[(TX, 12, 0, 0)]);
    check(&[(TX, 12 + 13, 0, 0)]);
    check(&[(TX, (HEADER_LEN + MAX_FRAME + 1) as u32, 0, 0)]);
    check(&[(TX, u32::MAX, 0, 0)]);
    check(&[(TX, 100, WRITE, 0)]);
    check(&[(TX, 100, NEXT, 41), (TX, 100, WRITE, 0)]);
    check(&[(TX, 100, NEXT, 40)]);
    check(&[(TX, 0, NEXT, 40)]);
    check(&[(TX, 100, NEXT, 256)]);
    check(&[(u64::MAX - 10, 100, 0, 0)]);
    check(&[(0x7f_fff0, 100, 0, 0)]);
    check(&[(0xffff_0000, 100, 0, 0)]);
    check(&[(TX, 15, INDIRECT, 0)]);
    check(&[(TX, 16, INDIRECT, 0)]);
    check(&[(u64::MAX - 15, 16, INDIRECT, 0)]);
}

#[test]
fn headers_that_ask_for_more_than_was_offered() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let mut check = |at: usize, value: u8, good: bool| {
        let mut header = [0; HEADER_LEN];
        header[at] = value;
        guest.put(TX, &header);
        guest.put(TX + HEADER_LEN as u64, &frame(60, 1));
        let before = guest.device.counters().malformed;
        let head = guest.tx.offer(&[Buffer::Readable(TX, 72)]);
        guest.device.queue_kicked(QUEUE_TX).unwrap();
        assert_eq!(guest.tx.take_used(), Some((head, 0)));
        assert_eq!(guest.device.counters().malformed - before, u64::from(!good));
        if good {
            assert_eq!(receive(&mut host), frame(60, 1));
        }
    };
    check(0, 1, false);
    check(1, 1, false);
    check(1, 0x84, false);
    // Of no consequence.
    check(0, 2, true);
    check(2, 9, true);
    check(10, 9, true);
}

#[test]
fn buffers_that_cannot_be_filled() {
    let check = |buffers: &[Buffer]| {
        let memory = guest_memory();
        let (mut guest, mut host) = Guest::new(&memory);
        let features = guest.device.features();
        send(&mut host, &frame(3000, 1));
        guest.settle();
        // A good one before it.
        for chain in [&[Buffer::Writable(RX, 1500)], buffers] {
            guest.rx.offer(chain);
        }
        let broken = Err(DeviceError::BrokenQueue { queue: QUEUE_RX });
        assert_eq!(guest.device.queue_kicked(QUEUE_RX), broken, "{buffers:x?}");
        assert_eq!(guest.device.counters().malformed, 1);
        // It is over until it is reset.
        guest.settle();
        assert_eq!(guest.rx.take_used(), None);
        guest.activate(features);
        guest.offer(2, 3000);
        guest.kick_rx();
        assert_eq!(guest.take(), Some((frame(3000, 1), 2)));
        guest.still_works(&mut host);
    };
    check(&[Buffer::Writable(RX, 0)]);
    check(&[Buffer::Readable(RX, 4096)]);
    check(&[Buffer::Writable(RX, 100), Buffer::Readable(RX, 4096)]);
    check(&[Buffer::Writable(0x7f_ff00, 4096)]);
    check(&[Buffer::Writable(u64::MAX - 10, 4096)]);
    check(&[Buffer::Writable(RX, u32::MAX)]);
}

#[test]
fn no_room_for_the_header() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    send(&mut host, &frame(60, 1));
    guest.settle();
    guest.rx.offer(&[Buffer::Writable(RX, 11)]);
    guest.rx.offer(&[Buffer::Writable(RX, 1500)]);
    let broken = Err(DeviceError::BrokenQueue { queue: QUEUE_RX });
    assert_eq!(guest.device.queue_kicked(QUEUE_RX), broken);
    assert_eq!(guest.device.counters().malformed, 1);
}

#[test]
fn rings_that_are_broken() {
    let check = |queue: usize, break_it: fn(&mut Guest<'_>)| {
        let memory = guest_memory();
        let (mut guest, mut host) = Guest::new(&memory);
        let features = guest.device.features();
        send(&mut host, &frame(60, 1));
        guest.settle();
        break_it(&mut guest);
        let broken = Err(DeviceError::BrokenQueue { queue });
        assert_eq!(guest.device.queue_kicked(queue), broken);
        guest.settle();
        guest.activate(features);
        guest.offer(1, 1600);
        guest.kick_rx();
        assert_eq!(guest.take(), Some((frame(60, 1), 1)));
        guest.still_works(&mut host);
    };
    check(QUEUE_RX, |guest| guest.rx.set_available(257));
    check(QUEUE_RX, |guest| guest.rx.publish(256));
    check(QUEUE_TX, |guest| guest.tx.set_available(0x8000));
    check(QUEUE_TX, |guest| guest.tx.publish(u16::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_tables_end(
        table in proptest::collection::vec(
            (0u64..0x80_1000, any::<u16>(), 0u16..8, 0u16..10), 8,
        ),
        heads in proptest::collection::vec(0u16..9, 1..20), small in any::<bool>(),
    ) {
        let memory = guest_memory();
        let (mut guest, mut host) = Guest::new(&memory);
        for n in 0..3 {
            send(&mut host, &frame(700, n));
        }
        guest.settle();
        for (index, &(address, len, flags, next)) in (0..).zip(&table) {
            let len = if small { len % 600 } else { len };
            let descriptor = Descriptor { address, len: len.into(), flags, next };
            guest.rx.put(index, Descriptor { flags: flags ^ WRITE, ..descriptor });
            guest.tx.put(index, descriptor);
        }
        for head in heads {
            guest.rx.publish(head);
            guest.tx.publish(head);
        }
        host.set_nonblocking(true).unwrap();
        let _ = guest.device.queue_kicked(QUEUE_TX);
        let _ = guest.device.queue_kicked(QUEUE_RX);
        let features = guest.device.features();
        guest.activate(features);
        guest.offer(10, 1000);
        guest.kick_rx();
        let before = guest.device.metrics().frames_to_guest;
        assert!(before >= 3);
    }
}
