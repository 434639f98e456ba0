//! The device behind our own transport.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::driver::{CID, GUEST_BUFFER, GUEST_PORT, is_at_end};
use crate::testing::{Buffer, DriverQueue, MmioDriver, endure, memory};
use crate::virtio::mmio::protocol as p;
use crate::virtio::vsock::protocol::{HOST_CID, TYPE_STREAM, op};
use crate::virtio::vsock::{Config, HEADER_LEN, Header, QUEUE_TX, VirtioVsock, Vsock};

const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
const RX_DATA: u64 = 0x1_0000;
const TX_DATA: u64 = 0x2_0000;
const LEN: u32 = HEADER_LEN as u32;

fn device() -> (Box<VirtioVsock>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vsock");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = path.to_str().unwrap().to_owned();
    let device = Vsock::new(Config { guest_cid: CID, socket, listener }).unwrap();
    (Box::new(VirtioVsock::new(device).unwrap()), dir)
}

fn queues(memory: &GuestMemoryMmap) -> [DriverQueue<'_>; 3] {
    let mut queues = [0x1000, 0x2000, 0x3000].map(|at| DriverQueue::new(memory, at, 8));
    queues.iter_mut().for_each(DriverQueue::renew);
    queues
}

fn packet(host_port: u32, op: u16, data: &[u8]) -> Vec<u8> {
    let header = Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID,
        src_port: GUEST_PORT,
        dst_port: host_port,
        kind: TYPE_STREAM,
        op,
        len: data.len() as u32,
        buf_alloc: GUEST_BUFFER,
        ..Header::default()
    };
    [&header.to_bytes()[..], data].concat()
}

/// Sends a packet and gives the operation of the answer, if there is one.
fn send(
    driver: &MmioDriver,
    memory: &GuestMemoryMmap,
    queues: &mut [DriverQueue<'_>],
    packet: &[u8],
) -> Option<u16> {
    let [rx, tx, ..] = queues else { panic!("two queues at least") };
    rx.offer(&[Buffer::Writable(RX_DATA, 4096)]);
    memory.write_slice(packet, GuestAddress(TX_DATA)).unwrap();
    let head = tx.offer(&[Buffer::Readable(TX_DATA, packet.len() as u32)]);
    driver.kick(QUEUE_TX as u32);
    assert_eq!(tx.take_used(), Some((head, 0)));
    assert!(driver.take_interrupts() > 0);
    assert_eq!(driver.acknowledge(), p::INTERRUPT_USED);
    rx.take_used().map(|(_, len)| received(memory, len).0.op)
}

fn received(memory: &GuestMemoryMmap, len: u32) -> (Header, Vec<u8>) {
    let mut bytes = vec![0; len as usize];
    memory.read_slice(&mut bytes, GuestAddress(RX_DATA)).unwrap();
    let data = bytes.split_off(HEADER_LEN);
    (Header::from_bytes(bytes[..].try_into().unwrap()), data)
}

#[test]
fn what_a_driver_reads_of_it() {
    let memory = memory(0x10_0000);
    let (device, _dir) = device();
    let driver = MmioDriver::new(device, &memory).unwrap();
    assert_eq!(driver.read(p::DEVICE_ID), 19);
    assert_eq!(driver.read_config(0), u64::from(CID).to_le_bytes());
    assert_eq!(driver.read_config(4), [0; 8]);
    assert_eq!(driver.transport().queue_count(), 3);
}

#[test]
fn both_queues_are_needed_and_that_for_events_is_not() {
    let memory = memory(0x10_0000);
    let (device, _dir) = device();
    let driver = MmioDriver::new(device, &memory).unwrap();
    let check = |count: usize, works: bool| {
        let queues = queues(&memory);
        let used: Vec<_> = queues.iter().take(count).collect();
        assert_eq!(driver.bring_up(FEATURES, &used), works, "{count} queues");
    };
    check(0, false);
    check(1, false);
    check(2, true);
    check(3, true);
}

#[test]
fn a_connection_and_another_one_after_a_reset() {
    let memory = memory(0x10_0000);
    let (device, dir) = device();
    let driver = MmioDriver::new(device, &memory).unwrap();
    let listener = UnixListener::bind(dir.path().join("vsock_7")).unwrap();
    let mut old: Option<UnixStream> = None;
    for _ in 0..3 {
        let mut queues = queues(&memory);
        assert!(driver.bring_up(FEATURES, &queues.each_ref()));
        if let Some(old) = &mut old {
            assert!(is_at_end(old));
        }
        let mut send = |op, data: &[u8]| send(&driver, &memory, &mut queues, &packet(7, op, data));
        assert_eq!(send(op::REQUEST, b""), Some(op::RESPONSE));
        let (mut host, _) = listener.accept().unwrap();
        assert_eq!(send(op::RW, b"hello"), None);
        let mut data = [0; 5];
        host.read_exact(&mut data).unwrap();
        assert_eq!(&data, b"hello");
        // What the host sends comes by the event of the device, into a buffer that waits.
        host.write_all(b"hello yourself").unwrap();
        driver.transport().host_ready(0);
        assert_eq!(driver.take_interrupts(), 1);
        let (_, len) = queues[0].take_used().unwrap();
        let (header, data) = received(&memory, len);
        assert_eq!((header.op, &data[..]), (op::RW, &b"hello yourself"[..]));
        old = Some(host);
    }
    let counters = driver.transport().counters();
    assert_eq!((counters.bytes_from_guest, counters.bytes_to_guest), (15, 42));
    assert_eq!((counters.chains, counters.malformed), (12, 0));
}

#[test]
fn a_host_program_that_comes_before_the_driver() {
    let memory = memory(0x10_0000);
    let (device, dir) = device();
    let driver = MmioDriver::new(device, &memory).unwrap();
    let mut host = UnixStream::connect(dir.path().join("vsock")).unwrap();
    host.write_all(b"CONNECT 5000\n").unwrap();
    driver.transport().host_ready(0);
    let [mut rx, tx, events] = queues(&memory);
    assert!(driver.bring_up(FEATURES, &[&rx, &tx, &events]));
    rx.offer(&[Buffer::Writable(RX_DATA, 4096)]);
    driver.kick(0);
    let (_, len) = rx.take_used().unwrap();
    assert_eq!((received(&memory, len).0.op, len), (op::REQUEST, LEN));
}

#[test]
fn a_driver_that_never_pauses_does_not_keep_the_device() {
    let memory = memory(0x10_0000);
    let (device, _dir) = device();
    let driver = MmioDriver::new(device, &memory).unwrap();
    // More than there is in one go: each queue is as long as it can be.
    let rx = DriverQueue::new(&memory, 0x1000, 256);
    let mut tx = DriverQueue::new(&memory, 0x4000, 256);
    assert!(driver.bring_up(FEATURES, &[&rx, &tx]));
    memory.write_slice(&packet(9, op::CREDIT_UPDATE, b""), GuestAddress(TX_DATA)).unwrap();
    for _ in 0..256 {
        tx.offer(&[Buffer::Readable(TX_DATA, LEN)]);
    }
    driver.kick(QUEUE_TX as u32);
    let taken = std::iter::from_fn(|| tx.take_used()).count();
    assert_eq!(taken, 256);
    // It asked for another turn, and finds that there is nothing more.
    let mut asked = Vec::new();
    driver
        .transport()
        .each_host_event(|number, event| {
            let mut fds = [PollFd::new(&event, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
            if ready > 0 {
                asked.push(number);
            }
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!(asked, [1]);
    driver.transport().host_ready(1);
    assert_eq!(driver.status() & p::NEEDS_RESET, 0);
}

#[test]
fn bad_drivers() {
    let (device, _dir) = device();
    endure(device, 3, |driver, memory, queues| {
        let answer = send(driver, memory, queues, &packet(99, op::REQUEST, b""));
        assert_eq!(answer, Some(op::RST));
    });
}
