//! The device as a driver sees it.

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{MAX_REQUEST, Rng};
use crate::testing::{
    Buffer, Descriptor, DriverQueue, MmioDriver, Recorder, activation, endure, memory,
};
use crate::virtio::device::{Counters, DeviceError, VirtioDevice};

const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
const DATA: u64 = 0x1_0000;

fn read(memory: &GuestMemoryMmap, at: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    memory.read_slice(&mut data, GuestAddress(at)).unwrap();
    data
}

#[test]
fn what_is_asked_for_is_filled() {
    let memory = memory(0x10_0000);
    let check = |lens: &[u32], expect: usize| {
        memory.write_slice(&[0; 0x4_0000], GuestAddress(DATA)).unwrap();
        let mut device = Rng::new().unwrap();
        let mut queue = DriverQueue::new(&memory, 0x1000, 64);
        queue.renew();
        let told = Recorder::new();
        let active = activation(&device, &memory, FEATURES, &[Some(&queue)], &told);
        device.activate(active).unwrap();
        let buffers: Vec<_> = lens
            .iter()
            .scan(DATA, |at, &len| {
                let buffer = Buffer::Writable(*at, len);
                *at += u64::from(len);
                Some(buffer)
            })
            .collect();
        let head = queue.offer(&buffers);
        device.queue_kicked(0).unwrap();
        assert_eq!(queue.take_used(), Some((head, expect as u32)), "{lens:?}");
        assert_eq!(told.take_used(0), 1);
        // Of 16 random bytes in a row, one is not zero; what is after them is untouched.
        let data = read(&memory, DATA, 0x4_0000);
        let (filled, rest) = data.split_at(expect);
        assert!(filled.chunks_exact(16).all(|chunk| chunk.iter().any(|&byte| byte != 0)));
        assert!(rest.iter().all(|&byte| byte == 0));
        let bytes_to_guest = expect as u64;
        assert_eq!(
            device.counters(),
            Counters { chains: 1, bytes_to_guest, ..Counters::default() }
        );
    };
    check(&[64], 64);
    check(&[1], 1);
    check(&[0, 16, 0, 16, 5], 37);
    check(&[5000, 5000], 10_000);
    check(&[MAX_REQUEST as u32], MAX_REQUEST);
    check(&[MAX_REQUEST as u32 + 1], MAX_REQUEST);
    check(&[1000, MAX_REQUEST as u32, 1000], MAX_REQUEST);
}

#[test]
fn a_request_that_makes_no_sense_is_given_back() {
    let memory = memory(0x10_0000);
    let mut device = Rng::new().unwrap();
    let mut queue = DriverQueue::new(&memory, 0x1000, 64);
    let told = Recorder::new();
    device.activate(activation(&device, &memory, FEATURES, &[Some(&queue)], &told)).unwrap();
    let mut check = |buffers: &[Buffer], len| {
        let head = queue.offer(buffers);
        device.queue_kicked(0).unwrap();
        assert_eq!(queue.take_used(), Some((head, len)), "{buffers:?}");
        device.counters().malformed
    };
    assert_eq!(check(&[Buffer::Readable(DATA, 64)], 0), 1);
    assert_eq!(check(&[Buffer::Writable(DATA, 32), Buffer::Readable(DATA, 64)], 32), 2);
    assert_eq!(check(&[Buffer::Writable(0xf_fff0, 32)], 16), 3);
    assert_eq!(check(&[Buffer::Writable(DATA, 32)], 32), 3);
}

#[test]
fn one_interrupt_for_what_was_asked_for_together() {
    let memory = memory(0x10_0000);
    let mut device = Rng::new().unwrap();
    let mut queue = DriverQueue::new(&memory, 0x1000, 64);
    let told = Recorder::new();
    device.activate(activation(&device, &memory, FEATURES, &[Some(&queue)], &told)).unwrap();
    for n in 0..10 {
        queue.offer(&[Buffer::Writable(DATA + n * 64, 64)]);
    }
    device.queue_kicked(0).unwrap();
    assert_eq!((told.take_used(0), device.counters().chains), (1, 10));
    // A driver that has not looked since is not told again.
    queue.offer(&[Buffer::Writable(DATA, 64)]);
    device.queue_kicked(0).unwrap();
    assert_eq!((told.take_used(0), device.counters().chains), (0, 11));
}

#[test]
fn a_driver_that_never_pauses_does_not_keep_the_device() {
    let memory = memory(0x10_0000);
    let mut device = Rng::new().unwrap();
    let mut queue = DriverQueue::new(&memory, 0x1000, 64);
    let told = Recorder::new();
    device.activate(activation(&device, &memory, FEATURES, &[Some(&queue)], &told)).unwrap();
    for _ in 0..64 {
        queue.offer(&[Buffer::Writable(DATA, 1)]);
    }
    device.queue_kicked(0).unwrap();
    assert_eq!(device.counters().chains, 64);
    // It calls itself again for the rest, of which there is none here.
    device.host_ready(0).unwrap();
    assert_eq!((device.counters().chains, told.take_used(0)), (64, 1));
}

#[test]
fn an_inactive_device_does_nothing() {
    let memory = memory(0x10_0000);
    let mut device = Rng::new().unwrap();
    let mut queue = DriverQueue::new(&memory, 0x1000, 8);
    let told = Recorder::new();
    let missing = device.activate(activation(&device, &memory, FEATURES, &[None], &told));
    assert_eq!(missing, Err(DeviceError::QueueMissing { queue: 0 }));
    device.activate(activation(&device, &memory, FEATURES, &[Some(&queue)], &told)).unwrap();
    device.reset();
    queue.offer(&[Buffer::Writable(DATA, 64)]);
    assert_eq!((device.queue_kicked(0), device.host_ready(0)), (Ok(()), Ok(())));
    assert_eq!((queue.take_used(), read(&memory, DATA, 64)), (None, vec![0; 64]));
}

#[test]
fn it_goes_on_after_a_reset() {
    let memory = memory(0x10_0000);
    let driver = MmioDriver::new(Box::new(Rng::new().unwrap()), &memory).unwrap();
    for _ in 0..3 {
        let mut queue = DriverQueue::new(&memory, 0x1000, 16);
        queue.renew();
        assert!(driver.bring_up(FEATURES, &[&queue]));
        for _ in 0..40 {
            works(&driver, &memory, std::slice::from_mut(&mut queue));
        }
        // One that is not served any more.
        queue.put(0, Descriptor { address: DATA, len: 1, flags: 2, next: 0 });
        queue.publish(0);
    }
}

#[test]
fn bad_drivers() {
    endure(Box::new(Rng::new().unwrap()), 1, works);
}

fn works(driver: &MmioDriver, memory: &GuestMemoryMmap, queues: &mut [DriverQueue<'_>]) {
    memory.write_slice(&[0; 64], GuestAddress(DATA)).unwrap();
    let head = queues[0].offer(&[Buffer::Writable(DATA, 64)]);
    driver.kick(0);
    assert_eq!(queues[0].take_used(), Some((head, 64)));
    assert_eq!((driver.take_interrupts() > 0, driver.acknowledge()), (true, 1));
    assert_ne!(read(memory, DATA, 64), vec![0; 64]);
}
