//! The device as a driver sees it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Console, MAX_WRITE};
use crate::testing::{Buffer, DriverQueue, MmioDriver, Recorder, activation, endure, memory};
use crate::virtio::device::{DeviceError, VirtioDevice};

const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
const DATA: u64 = 0x1_0000;

/// Keeps what it is given, until it is told to fail.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<(Vec<u8>, bool)>>);

impl Screen {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }
}

impl Write for Screen {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (text, fails) = &mut *self.0.lock().unwrap();
        if *fails {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        text.extend(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn console() -> (Console<Screen>, Screen) {
    let screen = Screen::default();
    (Console::new(screen.clone()).unwrap(), screen)
}

#[test]
fn what_the_guest_writes_is_on_the_screen() {
    let memory = memory(0x10_0000);
    let text: Vec<u8> = (0..MAX_WRITE + 1000).map(|n| (n % 251) as u8).collect();
    memory.write_slice(&text, GuestAddress(DATA)).unwrap();
    let check = |lens: &[u32], expect: usize, malformed: u64| {
        let (mut device, screen) = console();
        let mut tx = DriverQueue::new(&memory, 0x1000, 64);
        tx.renew();
        let told = Recorder::new();
        // Without a queue to receive by, which is never looked at.
        let active = activation(&device, &memory, FEATURES, &[None, Some(&tx)], &told);
        device.activate(active).unwrap();
        let mut at = DATA;
        let mut buffers = Vec::new();
        for &len in lens {
            buffers.push(Buffer::Readable(at, len));
            at += u64::from(len);
        }
        let head = tx.offer(&buffers);
        device.queue_kicked(1).unwrap();
        assert_eq!(tx.take_used(), Some((head, 0)), "{lens:?}");
        assert_eq!(told.take_used(1), 1);
        assert!(screen.take() == text[..expect], "{lens:?}");
        let counters = device.counters();
        assert_eq!((counters.bytes_from_guest, counters.malformed), (expect as u64, malformed));
    };
    check(&[5], 5, 0);
    check(&[0], 0, 0);
    check(&[1, 0, 5000, 7], 5008, 0);
    check(&[MAX_WRITE as u32], MAX_WRITE, 0);
    check(&[4096, MAX_WRITE as u32], 4096, 1);
    check(&[MAX_WRITE as u32 + 1], 0, 1);
}

#[test]
fn a_screen_that_is_gone_does_not_stop_the_guest() {
    let memory = memory(0x10_0000);
    let (mut device, screen) = console();
    let mut tx = DriverQueue::new(&memory, 0x1000, 8);
    let told = Recorder::new();
    device.activate(activation(&device, &memory, FEATURES, &[None, Some(&tx)], &told)).unwrap();
    screen.0.lock().unwrap().1 = true;
    for _ in 0..20 {
        let head = tx.offer(&[Buffer::Readable(DATA, 100)]);
        device.queue_kicked(1).unwrap();
        assert_eq!(tx.take_used(), Some((head, 0)));
    }
}

#[test]
fn buffers_to_receive_with_are_kept() {
    let memory = memory(0x10_0000);
    let (mut device, _) = console();
    let mut rx = DriverQueue::new(&memory, 0x1000, 8);
    let tx = DriverQueue::new(&memory, 0x2000, 8);
    let told = Recorder::new();
    let queues = [Some(&rx), Some(&tx)];
    device.activate(activation(&device, &memory, FEATURES, &queues, &told)).unwrap();
    rx.offer(&[Buffer::Writable(DATA, 100)]);
    device.queue_kicked(0).unwrap();
    assert_eq!((rx.take_used(), told.take_used(0)), (None, 0));
}

#[test]
fn the_queue_to_write_by_is_needed() {
    let memory = memory(0x10_0000);
    let (mut device, _) = console();
    let rx = DriverQueue::new(&memory, 0x1000, 8);
    let active = activation(&device, &memory, FEATURES, &[Some(&rx)], &Recorder::new());
    assert_eq!(device.activate(active), Err(DeviceError::QueueMissing { queue: 1 }));
    assert_eq!((device.queue_kicked(1), device.host_ready(0)), (Ok(()), Ok(())));
}

#[test]
fn it_goes_on_after_a_reset() {
    let memory = memory(0x10_0000);
    let (device, screen) = console();
    let driver = MmioDriver::new(Box::new(device), &memory).unwrap();
    for _ in 0..3 {
        let mut queues = [0x1000, 0x2000].map(|at| DriverQueue::new(&memory, at, 8));
        queues.iter_mut().for_each(DriverQueue::renew);
        assert!(driver.bring_up(FEATURES, &queues.each_ref()));
        for _ in 0..20 {
            works(&driver, &memory, &mut queues, &screen);
        }
    }
}

#[test]
fn bad_drivers() {
    let (device, screen) = console();
    endure(Box::new(device), 2, |driver, memory, queues| {
        screen.take();
        works(driver, memory, queues, &screen);
    });
}

fn works(
    driver: &MmioDriver,
    memory: &GuestMemoryMmap,
    queues: &mut [DriverQueue<'_>],
    screen: &Screen,
) {
    memory.write_slice(b"hello\n", GuestAddress(DATA)).unwrap();
    let head = queues[1].offer(&[Buffer::Readable(DATA, 6)]);
    driver.kick(1);
    assert_eq!(queues[1].take_used(), Some((head, 0)));
    assert_eq!((driver.take_interrupts() > 0, driver.acknowledge()), (true, 1));
    assert_eq!(screen.take(), b"hello\n");
}
