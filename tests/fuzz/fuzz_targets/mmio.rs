//! The memory-mapped transport: its registers read and written at random, in any width, while
//! it is kicked and told of the host.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use microagent_devices::bus::BusDevice;
use microagent_devices::testing::MmioDriver;
use microagent_devices::virtio::console::Console;
use microagent_devices::virtio::mmio::protocol as p;
use microagent_fuzz::{Guest, Input};
use vm_memory::{Bytes, GuestAddress};

/// Registers that a driver writes, so that most accesses mean something.
const WRITTEN: [u64; 16] = [
    p::DEVICE_FEATURES_SEL,
    p::DRIVER_FEATURES_SEL,
    p::DRIVER_FEATURES,
    p::QUEUE_SEL,
    p::QUEUE_NUM,
    p::QUEUE_READY,
    p::QUEUE_NOTIFY,
    p::INTERRUPT_ACK,
    p::STATUS,
    p::STATUS,
    p::QUEUE_DESC_LOW,
    p::QUEUE_DESC_HIGH,
    p::QUEUE_DRIVER_LOW,
    p::QUEUE_DRIVER_HIGH,
    p::QUEUE_DEVICE_LOW,
    p::QUEUE_DEVICE_HIGH,
];
const MAX_STEPS: usize = 512;
/// Bits of the status that are written one by one as a driver goes on.
const STATUS: [u32; 6] = [0, 1, 3, 11, 15, 0x80];

fn step(driver: &MmioDriver, guest: &Guest, input: &mut Input<'_>) {
    let (kind, which) = (input.byte(), input.byte());
    match kind % 8 {
        0 | 1 => driver.write(WRITTEN[usize::from(which & 15)], input.number()),
        2 => driver.write(p::STATUS, STATUS[usize::from(which) % STATUS.len()]),
        3 => {
            let len = usize::from(kind >> 3);
            driver.transport().write(u64::from(which) << 1, input.take(len));
        }
        4 => {
            let mut data = vec![0xff; usize::from(kind >> 3)];
            driver.transport().read(u64::from(which) << 1, &mut data);
        }
        5 => driver.transport().queue_kicked(usize::from(which & 7)),
        6 => driver.transport().host_ready(usize::from(which & 3)),
        _ => {
            let at = GuestAddress(u64::from(which) << 4);
            let _ = guest.memory.write_slice(input.take(usize::from(kind >> 3)), at);
        }
    }
}

/// What is true whatever was written.
fn check(driver: &MmioDriver) {
    assert_eq!(driver.read(p::MAGIC_VALUE), p::MAGIC);
    assert_eq!(driver.read(p::VERSION), p::VERSION_2);
    assert!(driver.read(p::QUEUE_NUM_MAX) <= 64);
    assert!(driver.read(p::QUEUE_READY) <= 1);
    assert_eq!(driver.read(p::INTERRUPT_STATUS) & !(p::INTERRUPT_USED | p::INTERRUPT_CONFIG), 0);
    let status = driver.status();
    let implies = |one, other| status & one == 0 || status & other != 0;
    assert!(implies(p::DRIVER, p::ACKNOWLEDGE), "status {status:#x}");
    assert!(implies(p::FEATURES_OK, p::DRIVER), "status {status:#x}");
    assert!(implies(p::DRIVER_OK, p::FEATURES_OK), "status {status:#x}");
    assert!(implies(p::NEEDS_RESET, p::DRIVER_OK), "status {status:#x}");
}

fuzz_target!(|data: &[u8]| {
    let guest = Guest::default();
    let device = Console::new(io::sink()).expect("a descriptor");
    let driver = MmioDriver::new(Box::new(device), &guest.memory).expect("a descriptor");
    let mut input = Input::new(data);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        step(&driver, &guest, &mut input);
        check(&driver);
    }
    driver.reset();
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.read(p::INTERRUPT_STATUS), 0);
    assert!(driver.accept(driver.offered()));
});
