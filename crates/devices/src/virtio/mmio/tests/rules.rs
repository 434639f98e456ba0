//! What a driver may write when.

use virtio_queue::QueueT;

use super::fixture::{EVENT_IDX, Guest, ODD, SIZES, VERSION_1};
use crate::bus::BusDevice;
use crate::virtio::device::DeviceType;
use crate::virtio::mmio::protocol as p;

const ALL: u32 = p::ACKNOWLEDGE | p::DRIVER | p::FEATURES_OK | p::DRIVER_OK;

#[test]
fn what_a_driver_reads_first() {
    let guest = Guest::new();
    let check = |register, expect| assert_eq!(guest.driver.read(register), expect);
    check(p::MAGIC_VALUE, u32::from_le_bytes(*b"virt"));
    check(p::VERSION, 2);
    check(p::DEVICE_ID, DeviceType::Console as u32);
    check(p::VENDOR_ID, u32::from_le_bytes(*b"mgnt"));
    check(p::STATUS, 0);
    check(p::INTERRUPT_STATUS, 0);
    check(p::CONFIG_GENERATION, 0);
    assert_eq!(guest.driver.offered(), VERSION_1 | EVENT_IDX | ODD);
    guest.driver.write(p::DEVICE_FEATURES_SEL, 2);
    check(p::DEVICE_FEATURES, 0);
    // Shared memory, all of whose registers say that there is none.
    for register in [0xb0, 0xb4, 0xb8, 0xbc] {
        check(register, u32::MAX);
    }
    for (queue, size) in [(0, SIZES[0]), (1, SIZES[1]), (2, 0), (u32::MAX, 0)] {
        guest.driver.write(p::QUEUE_SEL, queue);
        check(p::QUEUE_NUM_MAX, size.into());
        check(p::QUEUE_READY, 0);
    }
}

#[test]
fn features_that_both_agree_on() {
    let check = |features, expect| {
        let guest = Guest::new();
        assert_eq!(guest.driver.accept(features), expect, "{features:#x}");
    };
    check(VERSION_1, true);
    check(VERSION_1 | EVENT_IDX | ODD, true);
    check(0, false);
    check(EVENT_IDX, false);
    check(VERSION_1 | 1 << 6, false);
    check(VERSION_1 | 1 << 63, false);
    check(u64::MAX, false);
}

#[test]
fn features_that_have_no_number() {
    let guest = Guest::new();
    guest.driver.write(p::STATUS, p::ACKNOWLEDGE | p::DRIVER);
    guest.driver.write(p::DRIVER_FEATURES_SEL, 2);
    guest.driver.write(p::DRIVER_FEATURES, 1);
    assert!(!guest.driver.accept(VERSION_1));
    guest.driver.reset();
    assert!(guest.driver.accept(VERSION_1));
}

#[test]
fn features_are_settled_once() {
    let guest = Guest::new();
    assert!(guest.driver.accept(VERSION_1));
    guest.driver.write(p::DRIVER_FEATURES_SEL, 0);
    guest.driver.write(p::DRIVER_FEATURES, ODD as u32);
    let [first, _] = guest.queues();
    assert!(guest.driver.set_up_queue(0, &first));
    guest.driver.start();
    assert_eq!(guest.seen.lock().unwrap().features, VERSION_1);
}

#[test]
fn the_status_only_climbs() {
    let check = |writes: &[u32], expect: u32| {
        let guest = Guest::new();
        // With `DRIVER` alone, it would be ignored.
        guest.driver.write(p::STATUS, p::ACKNOWLEDGE | p::DRIVER);
        guest.driver.write(p::DRIVER_FEATURES_SEL, 1);
        guest.driver.write(p::DRIVER_FEATURES, 1);
        for &write in writes {
            guest.driver.write(p::STATUS, write);
        }
        assert_eq!(guest.driver.status(), expect, "{writes:?}");
    };
    let base = p::ACKNOWLEDGE | p::DRIVER;
    check(&[], base);
    check(&[base | p::FEATURES_OK], base | p::FEATURES_OK);
    // Each needs those before it.
    check(&[base | p::DRIVER_OK], base);
    check(&[0, p::DRIVER], 0);
    check(&[0, p::FEATURES_OK | p::DRIVER_OK], 0);
    check(&[0, p::ACKNOWLEDGE], p::ACKNOWLEDGE);
    check(&[0, p::ACKNOWLEDGE | p::FEATURES_OK], p::ACKNOWLEDGE);
    check(&[0, base], base);
    // A reset takes the features along.
    check(&[0, base, base | p::FEATURES_OK], base);
    // None is taken back.
    check(&[p::ACKNOWLEDGE], base);
    check(&[p::DRIVER | p::FEATURES_OK], base);
    check(&[base | p::FEATURES_OK, base], base | p::FEATURES_OK);
    // Bits of the device, and those that mean nothing, stay as they are.
    check(&[base | p::NEEDS_RESET | 0xffff_ff30], base);
    check(&[base | p::FAILED], base | p::FAILED);
    check(&[base | p::FAILED, ALL | p::FAILED], base | p::FAILED);
    check(&[base | p::FAILED, 0], 0);
}

#[test]
fn sizes_of_queues() {
    let check = |size: u32, expect: Option<u16>| {
        let guest = Guest::new();
        let [_, second] = guest.queues();
        let [table, available, used] = second.addresses();
        assert!(guest.driver.accept(VERSION_1));
        guest.driver.write(p::QUEUE_SEL, 0);
        guest.driver.write(p::QUEUE_NUM, size);
        for (register, address) in [
            (p::QUEUE_DESC_LOW, table),
            (p::QUEUE_DRIVER_LOW, available),
            (p::QUEUE_DEVICE_LOW, used),
        ] {
            guest.driver.write(register, address as u32);
        }
        guest.driver.write(p::QUEUE_READY, 1);
        let ready = guest.driver.read(p::QUEUE_READY);
        assert_eq!(ready, u32::from(expect.is_some()), "size {size}");
        guest.driver.start();
        let status = if expect.is_some() { ALL } else { ALL | p::NEEDS_RESET };
        assert_eq!(guest.driver.status(), status);
        let seen = guest.seen.lock().unwrap();
        assert_eq!(seen.queues.as_ref().map(|queues| queues[0].size()), expect, "size {size}");
    };
    check(8, Some(8));
    check(4, Some(4));
    check(1, Some(1));
    for size in [0, 3, 7, 16, 0x8000, 0x1_0000, 0x1_0008, u32::MAX] {
        check(size, None);
    }
}

#[test]
fn queues_are_set_up_between_features_and_start() {
    let guest = Guest::new();
    let [first, second] = guest.queues();
    assert!(!guest.driver.set_up_queue(0, &first), "before the features");
    assert!(guest.driver.accept(VERSION_1 | EVENT_IDX));
    assert!(guest.driver.set_up_queue(0, &first));
    // While it is ready it stays where it is.
    guest.driver.write(p::QUEUE_DESC_LOW, 0x4000);
    guest.driver.write(p::QUEUE_NUM, 2);
    guest.driver.write(p::QUEUE_READY, 2);
    guest.driver.start();
    assert!(!guest.driver.set_up_queue(1, &second), "after the start");
    let seen = guest.seen.lock().unwrap();
    let queues = seen.queues.as_ref().unwrap();
    assert_eq!(
        [queues[0].desc_table(), queues[0].avail_ring(), queues[0].used_ring()],
        first.addresses()
    );
    assert_eq!((queues[0].size(), queues[0].event_idx_enabled()), (8, true));
    assert!(!queues[1].ready());
}

#[test]
fn accesses_of_other_widths() {
    let guest = Guest::new();
    guest.seen.lock().unwrap().config = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
    let transport = guest.driver.transport();
    let check = |offset, len: usize, expect: &[u8]| {
        let mut data = vec![0xaa; len];
        transport.read(offset, &mut data);
        assert_eq!(data, expect, "{len} bytes at {offset:#x}");
    };
    check(p::MAGIC_VALUE, 4, b"virt");
    check(p::MAGIC_VALUE, 1, &[0]);
    check(p::MAGIC_VALUE, 2, &[0, 0]);
    check(p::MAGIC_VALUE, 8, &[0; 8]);
    check(p::MAGIC_VALUE + 1, 4, &[0; 4]);
    check(p::CONFIG - 2, 4, &[0; 4]);
    check(p::CONFIG, 1, &[1]);
    check(p::CONFIG + 3, 2, &[4, 5]);
    check(p::CONFIG + 8, 4, &[9, 0, 0, 0]);
    check(p::CONFIG, 8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    check(p::CONFIG, 3, &[0; 3]);
    check(p::LEN - 1, 1, &[0]);
    let status = |len| {
        transport.write(p::STATUS, &vec![1; len]);
        guest.driver.status()
    };
    assert_eq!([status(1), status(2), status(8)], [0; 3]);
    transport.write(p::STATUS + 2, &[1, 0, 0, 0]);
    assert_eq!(guest.driver.status(), 0);
}

#[test]
fn the_configuration_is_written_by_a_driver() {
    let guest = Guest::new();
    guest.seen.lock().unwrap().config = vec![0; 4];
    let transport = guest.driver.transport();
    transport.write(p::CONFIG, &[9]);
    assert_eq!(guest.driver.read_config(0), [0; 4], "before there is a driver");
    guest.driver.write(p::STATUS, p::ACKNOWLEDGE | p::DRIVER);
    for (offset, data) in [(0, &[1][..]), (1, &[2, 3]), (0, &[7, 7, 7]), (3, &[7, 7]), (90, &[7])] {
        transport.write(p::CONFIG + offset, data);
    }
    assert_eq!(guest.driver.read_config(0), [1, 2, 3, 0]);
}
