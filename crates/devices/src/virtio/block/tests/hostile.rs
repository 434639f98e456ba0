//! What no driver in its senses does. The device goes on, or stops until it is reset.

use proptest::prelude::{ProptestConfig, any, proptest};
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

use super::driver::{
    DATA, Guest, HEADER, IOERR, OK, SECTORS, STATUS, UNSUPP, UNTOUCHED, guest_memory, pattern,
};
use crate::testing::{Buffer, Descriptor};
use crate::virtio::block::protocol::kind;
use crate::virtio::device::{DeviceError, VirtioDevice};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

#[test]
fn requests_that_mean_nothing() {
    let check = |kind: u32, sector: u64, data: &[Buffer], (status, malformed): (u8, u64)| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        let (got, _) = guest.request(kind, sector, data);
        assert_eq!(got, status, "{kind} {sector} {data:x?}");
        assert_eq!(guest.device.counters().malformed, malformed, "{kind} {sector} {data:x?}");
        guest.still_works();
        assert_eq!(guest.on_disk(0, 1 << 20), pattern());
    };
    let bad = (IOERR, 1);
    check(kind::IN, SECTORS, &[Buffer::Writable(DATA, 512)], bad);
    check(kind::IN, SECTORS - 1, &[Buffer::Writable(DATA, 1024)], bad);
    check(kind::IN, u64::MAX, &[Buffer::Writable(DATA, 512)], bad);
    check(kind::IN, u64::MAX / 512, &[Buffer::Writable(DATA, 512)], bad);
    check(kind::IN, 0, &[], bad);
    check(kind::IN, 0, &[Buffer::Writable(DATA, 0)], bad);
    check(kind::IN, 0, &[Buffer::Writable(DATA, 511)], bad);
    check(kind::IN, 0, &[Buffer::Readable(DATA, 512)], bad);
    check(kind::IN, 0, &[Buffer::Readable(DATA, 1), Buffer::Writable(DATA, 512)], bad);
    check(kind::OUT, SECTORS, &[Buffer::Readable(DATA, 512)], bad);
    check(kind::OUT, u64::MAX, &[Buffer::Readable(DATA, 512)], bad);
    check(kind::OUT, 0, &[Buffer::Writable(DATA, 512)], bad);
    check(kind::OUT, 0, &[Buffer::Readable(DATA, 513)], bad);
    check(kind::OUT, 0, &[], bad);
    check(kind::FLUSH, 0, &[Buffer::Readable(DATA, 512)], bad);
    check(kind::GET_ID, 0, &[Buffer::Writable(DATA, 4096)], bad);
    check(kind::GET_ID, 0, &[], bad);
    check(kind::DISCARD, 0, &[Buffer::Writable(DATA, 16)], bad);
    check(kind::DISCARD, 0, &[Buffer::Readable(DATA, 1 << 20)], bad);
    check(2, 0, &[], (UNSUPP, 0));
    check(u32::MAX, u64::MAX, &[Buffer::Writable(DATA, 512)], (UNSUPP, 0));
}

#[test]
fn chains_that_are_none() {
    let check = |descriptors: &[(u64, u32, u16, u16)]| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        guest.prepare(kind::IN, 0);
        for (index, &(address, len, flags, next)) in (40..).zip(descriptors) {
            guest.queue.put(index, Descriptor { address, len, flags, next });
        }
        guest.queue.publish(40);
        guest.device.queue_kicked(0).unwrap();
        assert_eq!(guest.queue.take_used(), Some((40, 0)), "{descriptors:x?}");
        assert_eq!(guest.get(STATUS, 1), [UNTOUCHED], "{descriptors:x?}");
        assert_eq!(guest.device.counters().malformed, 1, "{descriptors:x?}");
        guest.still_works();
        assert_eq!(guest.on_disk(0, 1 << 20), pattern());
    };
    let header = (HEADER, 16, NEXT, 41);
    // No status, or one that is not to be written.
    check(&[(HEADER, 16, 0, 0)]);
    check(&[header, (STATUS, 1, 0, 0)]);
    check(&[header, (STATUS, 0, WRITE, 0)]);
    check(&[(HEADER, 0, 0, 0)]);
    // To be read after what is to be written.
    check(&[(STATUS, 1, WRITE | NEXT, 41), (HEADER, 16, 0, 0)]);
    check(&[header, (STATUS, 1, WRITE | NEXT, 42), (DATA, 512, 0, 0)]);
    // Loops, and what is not in the table.
    check(&[(HEADER, 16, NEXT, 40)]);
    check(&[header, (STATUS, 1, WRITE | NEXT, 41)]);
    check(&[header, (STATUS, 1, WRITE | NEXT, 40)]);
    check(&[header, (DATA, 0, NEXT, 40)]);
    check(&[header, (STATUS, 1, WRITE | NEXT, 256)]);
    check(&[header, (STATUS, 1, WRITE | NEXT, u16::MAX)]);
    // Not in guest memory.
    check(&[header, (0x3f_ff00, 512, NEXT | WRITE, 42), (STATUS, 1, WRITE, 0)]);
    check(&[header, (DATA, u32::MAX, NEXT | WRITE, 42), (STATUS, 1, WRITE, 0)]);
    check(&[header, (u64::MAX, 512, NEXT | WRITE, 42), (STATUS, 1, WRITE, 0)]);
    check(&[(u64::MAX - 3, 16, NEXT, 41), (STATUS, 1, WRITE, 0)]);
    check(&[header, (0x40_0000, 1, WRITE, 0)]);
    // Tables that are none.
    check(&[(DATA, 16 * 3, INDIRECT, 0)]);
    check(&[(DATA, 17, INDIRECT, 0)]);
    check(&[(DATA, 0, INDIRECT, 0)]);
    check(&[(u64::MAX - 15, 16, INDIRECT, 0)]);
    check(&[header, (DATA, 16, INDIRECT, 0)]);
}

/// A table of descriptors in the guest's memory, as a chain.
fn indirect(guest: &mut Guest<'_>, table: &[(u64, u32, u16, u16)], len: u32) -> (u16, u32) {
    let at = DATA + 0x10_0000;
    for (index, &(address, len, flags, next)) in (0u64..).zip(table) {
        let fields = [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes()];
        let bytes = [fields.concat(), next.to_le_bytes().to_vec()].concat();
        guest.put(at + index * 16, &bytes);
    }
    guest.queue.put(40, Descriptor { address: at, len, flags: INDIRECT, next: 0 });
    guest.queue.publish(40);
    guest.device.queue_kicked(0).unwrap();
    guest.queue.take_used().unwrap()
}

#[test]
fn tables_in_guest_memory() {
    let check = |table: &[(u64, u32, u16, u16)], good: bool| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        guest.prepare(kind::IN, 0);
        let len = table.len() as u32 * 16;
        let used = indirect(&mut guest, table, len);
        assert_eq!(used.1 > 0, good, "{table:x?}");
        assert_eq!(guest.device.counters().malformed, u64::from(!good), "{table:x?}");
        guest.still_works();
    };
    let (header, data) = ((HEADER, 16, NEXT, 1), (DATA, 512, NEXT | WRITE, 2));
    check(&[header, data, (STATUS, 1, WRITE, 0)], true);
    check(&[header, data, (STATUS, 1, WRITE | INDIRECT, 0)], false);
    check(&[header, (DATA, 16, INDIRECT, 0)], false);
    check(&[header, (STATUS, 1, WRITE | NEXT, 1)], false);
    check(&[header, (STATUS, 1, WRITE | NEXT, 7)], false);
    // As many pieces as a table can have.
    let many: Vec<_> = (1..=4000).map(|next| (DATA, 512, NEXT | WRITE, next)).collect();
    check(&many, false);
}

#[test]
fn more_pieces_than_were_offered() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    let table = |pieces: u16| {
        let data = (1..=pieces).map(|at| (DATA, 512, NEXT | WRITE, at + 1));
        let mut table = vec![(HEADER, 16, NEXT, 1)];
        table.extend(data);
        table.push((STATUS, 1, WRITE, 0));
        table
    };
    guest.prepare(kind::IN, 0);
    let most = table(254);
    assert_eq!(indirect(&mut guest, &most, most.len() as u32 * 16), (40, 254 * 512 + 1));
    let more = table(300);
    assert_eq!(indirect(&mut guest, &more, more.len() as u32 * 16), (40, 0));
    assert_eq!(guest.device.counters().malformed, 1);
    guest.still_works();
}

#[test]
fn rings_that_are_broken() {
    let check = |break_it: fn(&mut Guest<'_>)| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        let features = guest.device.features();
        break_it(&mut guest);
        let broken = Err(DeviceError::BrokenQueue { queue: 0 });
        assert_eq!(guest.device.queue_kicked(0), broken);
        // It is over until it is reset.
        assert_eq!(guest.device.queue_kicked(0), Ok(()));
        assert_eq!(guest.device.host_ready(0), Ok(()));
        guest.activate(features);
        guest.still_works();
    };
    check(|guest| guest.queue.set_available(0x8000));
    check(|guest| guest.queue.set_available(257));
    check(|guest| guest.queue.publish(256));
    check(|guest| guest.queue.publish(u16::MAX));
}

#[test]
fn a_queue_in_its_own_data() {
    // The device overwrites its own rings: whatever comes of it, it ends.
    let memory = guest_memory();
    let mut guest = Guest::new(&memory, false);
    guest.prepare(kind::IN, 0);
    for at in (0x1000..0x4000).step_by(512) {
        let data = [Buffer::Readable(HEADER, 16), Buffer::Writable(at, 512)];
        guest.queue.offer(&[data[0], data[1], Buffer::Writable(STATUS, 1)]);
    }
    let _ = guest.device.queue_kicked(0);
    let features = guest.device.features();
    guest.activate(features);
    guest.still_works();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_table_ends(
        table in proptest::collection::vec(
            (0u64..0x40_1000, any::<u16>(), 0u16..8, 0u16..10), 8,
        ),
        header in any::<[u8; 16]>(), kind in 0u8..16, heads in proptest::collection::vec(0u16..9, 1..20),
    ) {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory, false);
        // Most of it in memory that is full of headers.
        for at in (0..0x1000).step_by(16) {
            memory.write_slice(&header, GuestAddress(DATA + at)).unwrap();
            memory.write_slice(&[kind, 0, 0, 0], GuestAddress(DATA + at)).unwrap();
        }
        for (index, &(address, len, flags, next)) in (0..).zip(&table) {
            let address = if address % 4 == 0 { address } else { DATA + address % 0x100 * 16 };
            let len = if len % 3 == 0 { 16 } else { u32::from(len) };
            guest.queue.put(index, Descriptor { address, len, flags, next });
        }
        heads.iter().for_each(|head| guest.queue.publish(*head));
        let _ = guest.device.queue_kicked(0);
        let features = guest.device.features();
        guest.activate(features);
        assert_eq!(guest.request(kind::FLUSH, 0, &[]).0, OK);
    }
}
