//! Interrupts, and processors beside the first.

use microagent_vmm_protocol::Request;

use crate::virtio::Buffer::In;
use crate::virtio::device;
use crate::{Fixture, Guest, kvm_is_missing};

/// Registers of the local APIC (Intel SDM volume 3, table 11-1).
const SPURIOUS: u32 = 0xfee0_00f0;
const COMMAND: u32 = 0xfee0_0300;
const COMMAND_TARGET: u32 = 0xfee0_0310;
/// Registers of the I/O APIC: which one, and its value.
const IO_SELECT: u32 = 0xfec0_0000;
const IO_WINDOW: u32 = 0xfec0_0010;

const VECTOR: u32 = 0x30;
const HANDLER: u32 = 0x11_8000;
const TABLE: u32 = 0x11_9000;
const TABLE_POINTER: u32 = 0x11_a000;

/// Has a handler say `!` and power off for interrupts of line `gsi`.
fn handling(guest: Guest, gsi: u32) -> Guest {
    // out 0x3f8, '!'; out 0x604
    let handler = [0x66, 0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, 0x66, 0xba, 0x04, 0x06, 0xee];
    let gate = [HANDLER as u16, 0x10, 0x8e00, (HANDLER >> 16) as u16];
    let gate: Vec<u8> = gate.iter().flat_map(|half| half.to_le_bytes()).collect();
    let pointer = [&0x7ffu16.to_le_bytes()[..], &TABLE.to_le_bytes()].concat();
    guest
        .data(HANDLER, handler)
        .data(TABLE + VECTOR * 8, gate)
        .data(TABLE_POINTER, pointer)
        .raw(&[0xbc])
        .raw(&0x18_0000u32.to_le_bytes()) // mov esp
        .raw(&[0x0f, 0x01, 0x1d])
        .raw(&TABLE_POINTER.to_le_bytes()) // lidt
        // The older controllers would pass the line on as well.
        .out(0x21, 0xff)
        .out(0xa1, 0xff)
        .write(SPURIOUS, 0x1ff)
        .write(IO_SELECT, 0x11 + 2 * gsi)
        .write(IO_WINDOW, 0)
        .write(IO_SELECT, 0x10 + 2 * gsi)
        .write(IO_WINDOW, VECTOR)
}

#[test]
fn a_device_interrupts_a_processor_that_sleeps() {
    if kvm_is_missing() {
        return;
    }
    let rng = device(0);
    let guest = handling(Guest::new().chains(rng, 0, &[&[In(0x11_3000, 16)]]), 5)
        .start(rng, 1)
        .offer(rng, 0, 1)
        .raw(&[0xfb, 0xf4]) // sti; hlt
        .say("not interrupted\n")
        .power_off();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.rng = true;
    let ended = fixture.run();
    assert_eq!(ended.console, "!", "{ended:?}");
}

/// Starts processor `index` at 0x10000, where it counts itself at 0x100 and halts.
fn starting(guest: Guest, count: u8) -> Guest {
    // In real mode: lock inc word [0x100]; hlt; jmp
    let code: [u8; 8] = [0xf0, 0xff, 0x06, 0x00, 0x01, 0xf4, 0xeb, 0xfd];
    let words = code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let mut guest = (0x1_0000..).step_by(4).zip(words).fold(guest, |g, (at, w)| g.write(at, w));
    for index in 1..count {
        let target = u32::from(index) << 24;
        guest = guest.write(COMMAND_TARGET, target).write(COMMAND, 0x4500);
        guest = guest.write(COMMAND_TARGET, target).write(COMMAND, 0x4610);
        guest = guest.wait_for(0x100, index.into());
    }
    guest
}

#[test]
fn every_processor_starts() {
    if kvm_is_missing() {
        return;
    }
    let check = |count: u8| {
        let mut fixture = Fixture::new(&starting(Guest::new(), count).say("all\n").spin());
        fixture.spec.vcpus = count;
        let mut monitor = fixture.spawn();
        let mut driver = monitor.connect();
        driver.state(&Request::Start);
        monitor.wait_for("all\n");
        // Those that halt are stopped like the one that spins.
        driver.state(&Request::Pause);
        driver.state(&Request::Resume);
        assert_eq!(driver.stats().vcpus.len(), usize::from(count));
    };
    check(2);
    check(4);
}

#[test]
fn any_processor_can_end_the_machine() {
    if kvm_is_missing() {
        return;
    }
    // In real mode: mov dx, 0x604; out dx, al
    let guest = Guest::new().write(0x1_0000, 0xee06_04ba);
    let guest = guest.write(COMMAND_TARGET, 1 << 24).write(COMMAND, 0x4500);
    let guest = guest.write(COMMAND_TARGET, 1 << 24).write(COMMAND, 0x4610);
    let mut fixture = Fixture::new(&guest.spin());
    fixture.spec.vcpus = 2;
    assert_eq!(fixture.run().code, Some(0));
}
