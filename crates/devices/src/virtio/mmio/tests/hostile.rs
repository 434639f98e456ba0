//! What no driver in its senses does to its registers.

use super::fixture::{EVENT_IDX, Guest, VERSION_1};
use crate::bus::BusDevice;
use crate::testing::{DriverQueue, MmioDriver, memory};
use crate::virtio::device::DeviceError;
use crate::virtio::mmio::protocol as p;
use crate::virtio::rng::Rng;

const BASE: u32 = p::ACKNOWLEDGE | p::DRIVER;
const VALUES: [u32; 12] = [0, 1, 2, 3, 8, 15, 64, 128, 0x8000, 0x1_0000, 0x8000_0000, u32::MAX];

/// A state that a device can be in, and the way there.
type State = (&'static str, fn(&Guest));

const STATES: [State; 8] = [
    ("new", |_| {}),
    ("acknowledged", |guest| guest.driver.write(p::STATUS, p::ACKNOWLEDGE)),
    ("driven", |guest| guest.driver.write(p::STATUS, BASE)),
    ("agreed", |guest| assert!(guest.driver.accept(VERSION_1))),
    ("ready", |guest| {
        assert!(guest.driver.accept(VERSION_1 | EVENT_IDX));
        assert!(guest.driver.set_up_queue(0, &guest.queues()[0]));
    }),
    ("live", Guest::bring_up),
    ("failed", |guest| {
        guest.bring_up();
        guest.driver.write(p::STATUS, guest.driver.status() | p::FAILED);
    }),
    ("broken", |guest| {
        guest.bring_up();
        guest.seen.lock().unwrap().fails = Some(DeviceError::BrokenQueue { queue: 1 });
        guest.driver.kick(0);
        guest.seen.lock().unwrap().fails = None;
    }),
];

#[test]
fn any_write_in_any_state() {
    let guest = Guest::new();
    guest.seen.lock().unwrap().config = vec![0; 16];
    let mut data = [0; 8];
    for (_, enter) in STATES {
        for register in (0..p::LEN).step_by(4) {
            for value in VALUES {
                guest.driver.reset();
                enter(&guest);
                guest.driver.write(register, value);
                guest.driver.kick(0);
                guest.driver.transport().read(register, &mut data[..4]);
            }
            for len in [1, 2, 3, 8] {
                guest.driver.transport().write(register + 1, &[0xff; 8][..len]);
                guest.driver.transport().read(register + 1, &mut data[..len]);
            }
        }
        guest.bring_up();
        assert!(guest.is_active());
    }
}

#[test]
fn only_a_device_with_a_driver_is_active() {
    let guest = Guest::new();
    for (name, enter) in STATES {
        guest.driver.reset();
        enter(&guest);
        assert_eq!(guest.is_active(), name == "live", "{name}");
    }
}

#[test]
fn rings_that_are_where_no_ring_can_be() {
    const MEMORY: u64 = 0x1_0000;
    let check = |which: usize, address: u64, works: bool| {
        let memory = memory(MEMORY as usize);
        let driver = MmioDriver::new(Box::new(Rng::new().unwrap()), &memory).unwrap();
        let queue = DriverQueue::new(&memory, 0x1000, 8);
        assert!(driver.accept(VERSION_1 | EVENT_IDX));
        driver.write(p::QUEUE_NUM, 8);
        let mut addresses = queue.addresses();
        addresses[which] = address;
        for (low, address) in
            [p::QUEUE_DESC_LOW, p::QUEUE_DRIVER_LOW, p::QUEUE_DEVICE_LOW].into_iter().zip(addresses)
        {
            driver.write(low, address as u32);
            driver.write(low + 4, (address >> 32) as u32);
        }
        driver.write(p::QUEUE_READY, 1);
        driver.start();
        let broken = driver.status() & p::NEEDS_RESET != 0;
        assert_eq!(broken, !works, "part {which} at {address:#x}");
        driver.kick(0);
        driver.transport().queue_kicked(0);
        assert!(driver.bring_up(VERSION_1, &[&queue]));
    };
    for which in 0..3 {
        for address in [MEMORY, u64::MAX - 15, 1 << 63, 0x1001, MEMORY - 16] {
            check(which, address, false);
        }
    }
    check(0, MEMORY - 128, true);
    check(0, MEMORY - 112, false);
    check(1, MEMORY - 22, true);
    check(1, MEMORY - 20, false);
    check(2, MEMORY - 72, true);
    check(2, MEMORY - 68, false);
}
