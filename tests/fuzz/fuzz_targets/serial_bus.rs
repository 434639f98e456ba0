//! The bus, compared with a list that is searched, and serial ports on it.
#![no_main]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use microagent_devices::bus::{Bus, BusDevice, BusRange};
use microagent_devices::serial::Serial;
use microagent_fuzz::Input;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Counts what is written.
#[derive(Clone, Default)]
struct Screen(Arc<AtomicUsize>);

impl Write for Screen {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(data.len(), Ordering::Relaxed);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Addresses near each other, and near the last that there is.
fn address(input: &mut Input<'_>) -> u64 {
    match input.byte() {
        near @ 0..0xf0 => near.into(),
        0xf0..=0xfe => u64::MAX - u64::from(input.byte()),
        0xff => input.u64(),
    }
}

fn range(input: &mut Input<'_>) -> BusRange {
    let base = address(input);
    let len = if input.byte() & 0xf0 == 0xf0 { input.u64() } else { u64::from(input.byte() & 31) };
    BusRange { base, len }
}

fn last(range: &BusRange) -> Option<u64> {
    range.base.checked_add(range.len.checked_sub(1)?)
}

/// Whether such a bus can be.
fn is_possible(ranges: &[BusRange]) -> bool {
    ranges.iter().enumerate().all(|(index, range)| {
        let Some(end) = last(range) else { return false };
        ranges[..index].iter().all(|other| {
            last(other).is_some_and(|other_end| other_end < range.base || end < other.base)
        })
    })
}

fn is_inside(ranges: &[BusRange], address: u64, len: usize) -> bool {
    let Some(end) = last(&BusRange { base: address, len: len as u64 }) else { return false };
    ranges.iter().any(|range| range.base <= address && last(range).is_some_and(|last| end <= last))
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let screen = Screen::default();
    let ranges: Vec<_> = (0..input.byte() % 5).map(|_| range(&mut input)).collect();
    let irq = EventFd::new(EFD_NONBLOCK).expect("a descriptor");
    let devices = ranges.iter().map(|range| {
        let irq = irq.try_clone().expect("a descriptor");
        (*range, Arc::new(Serial::new(irq, screen.clone())) as Arc<dyn BusDevice>)
    });
    let bus = Bus::new(devices);
    assert_eq!(bus.is_ok(), is_possible(&ranges), "{ranges:?}");
    let Ok(bus) = bus else { return };
    let mut writes = 0;
    while !input.is_empty() {
        let (how, address) = (input.byte(), address(&mut input));
        let len = if how & 0x70 == 0x70 { usize::from(how & 15) } else { 1 };
        let mut bytes = vec![input.byte(); len];
        let answered = match how & 0x80 {
            0 => bus.read(address, &mut bytes),
            _ => {
                writes += len;
                bus.write(address, &bytes)
            }
        };
        assert_eq!(answered, is_inside(&ranges, address, len), "{address:#x}+{len} {ranges:?}");
    }
    assert!(screen.0.load(Ordering::Relaxed) <= writes);
});
