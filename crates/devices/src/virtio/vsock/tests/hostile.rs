//! What no driver in its senses does. The device goes on, and so does a connection beside it.

use std::io::Write;
use std::os::unix::net::UnixStream;

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::driver::{GUEST_PORT, Guest, guest_memory, read};
use crate::testing::{Buffer, Descriptor};
use crate::virtio::vsock::protocol::{MAX_DATA, TYPE_STREAM, op};
use crate::virtio::vsock::table::MAX_CONNECTIONS;
use crate::virtio::vsock::{HEADER_LEN, Header};

fn still_works(guest: &mut Guest<'_>, host: &mut UnixStream) {
    guest.send_data(1, b"ping");
    assert_eq!(read(host, 4), b"ping");
    host.write_all(b"pong").unwrap();
    assert_eq!(guest.receive(1), b"pong");
}

#[test]
fn packets_that_mean_nothing() {
    let check = |change: fn(&mut Header), expect: Option<u16>| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory);
        let mut host = guest.connect(1);
        let mut header = guest.header(99, op::RW);
        change(&mut header);
        guest.send_raw(header, b"data", 100);
        let answer = guest.next();
        assert_eq!(answer.as_ref().map(|(h, _)| h.op), expect, "{header:?}");
        if let Some((answer, _)) = answer {
            let ports = (answer.src_port, answer.dst_port, answer.kind);
            assert_eq!(ports, (header.dst_port, header.src_port, TYPE_STREAM));
        }
        still_works(&mut guest, &mut host);
    };
    check(|h| h.op = 0, Some(op::RST));
    check(|h| h.op = 8, Some(op::RST));
    check(|h| h.op = u16::MAX, Some(op::RST));
    check(|h| h.kind = 2, Some(op::RST));
    check(|h| h.kind = 0, Some(op::RST));
    check(|h| h.dst_cid = 1, Some(op::RST));
    check(|h| h.dst_cid = 43, Some(op::RST));
    check(|h| h.len = 5, Some(op::RST));
    check(|h| h.len = MAX_DATA + 1, Some(op::RST));
    check(|h| h.len = u32::MAX, Some(op::RST));
    check(|h| h.op = op::RESPONSE, Some(op::RST));
    check(|h| h.op = op::SHUTDOWN, Some(op::RST));
    check(|h| h.op = op::RST, None);
    check(|h| h.src_cid = 2, None);
    check(|h| h.src_cid = u64::MAX, None);
}

#[test]
fn packets_that_a_connection_cannot_go_on_after() {
    let check = |op: u16, len: u32| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory);
        let _host = guest.connect(7);
        let header = Header { len, ..guest.header(7, op) };
        guest.send_raw(header, b"data", 100);
        assert_eq!(guest.next_op(7), Some(op::RST), "operation {op}, {len} bytes");
        guest.send(7, op::CREDIT_REQUEST);
        assert_eq!(guest.next_op(7), Some(op::RST), "it is forgotten");
    };
    check(op::REQUEST, 0);
    check(op::RESPONSE, 0);
    check(op::RW, 5);
    check(99, 0);
}

#[test]
fn transmit_chains_that_are_none() {
    const NEXT: u16 = VRING_DESC_F_NEXT as u16;
    const WRITE: u16 = VRING_DESC_F_WRITE as u16;
    const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;
    let check = |descriptors: &[(u64, u32, u16, u16)]| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory);
        let mut host = guest.connect(1);
        for (index, &(address, len, flags, next)) in (40..).zip(descriptors) {
            guest.tx.put(index, Descriptor { address, len, flags, next });
        }
        guest.tx.publish(40);
        guest.process();
        assert_eq!(guest.tx.take_used(), Some((40, 0)), "{descriptors:x?}");
        assert!(guest.next().is_none());
        still_works(&mut guest, &mut host);
    };
    let header = HEADER_LEN as u32;
    check(&[(0x80_0000, header - 1, 0, 0)]);
    check(&[(0x80_0000, 0, 0, 0)]);
    check(&[(0x80_0000, header, WRITE, 0)]);
    check(&[(0x80_0000, header, NEXT, 41), (0x80_0000, 10, WRITE, 0)]);
    check(&[(0x80_0000, header, NEXT, 40)]);
    check(&[(0x80_0000, 0, NEXT, 40)]);
    check(&[(0x80_0000, u32::MAX, 0, 0)]);
    check(&[(u64::MAX, header, 0, 0)]);
    check(&[(0xaf_fff0, header, 0, 0)]);
    check(&[(0xffff_0000, header, 0, 0)]);
    check(&[(0x80_0000, 7, INDIRECT, 0)]);
    check(&[(u64::MAX - 15, 16, INDIRECT, 0)]);
}

#[test]
fn receive_buffers_that_cannot_be_filled() {
    let check = |buffers: &[Buffer]| {
        let memory = guest_memory();
        let mut guest = Guest::new(&memory);
        let mut host = guest.connect(1);
        let head = guest.rx.offer(buffers);
        let mut bad = 0;
        // More answers than there are good buffers before the bad one.
        for _ in 0..40 {
            guest.send(1, op::CREDIT_REQUEST);
            while let Some((used, len)) = guest.rx.take_used() {
                match used == head {
                    true => bad += usize::from(len == 0),
                    false => guest.rx.publish(used),
                }
            }
        }
        assert_eq!(bad, 1, "{buffers:?}");
        still_works(&mut guest, &mut host);
    };
    let header = HEADER_LEN as u32;
    check(&[Buffer::Writable(0x30_0000, header - 1)]);
    check(&[Buffer::Readable(0x30_0000, 4096)]);
    check(&[Buffer::Writable(0x30_0000, header), Buffer::Readable(0x31_0000, 4096)]);
    check(&[Buffer::Writable(0xaf_ff00, 4096)]);
    check(&[Buffer::Writable(u64::MAX - 10, 4096)]);
}

#[test]
fn rings_that_are_broken() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let _host = guest.connect(1);
    // More chains than the ring has room for: there are none, and no endless loop.
    guest.tx.set_available(0x8000);
    guest.rx.set_available(0x8000);
    guest.process();
    assert!(guest.tx.take_used().is_none());
    guest.restart();
    guest.tx.publish(u16::MAX);
    guest.process();
}

#[test]
fn refusals_do_not_pile_up() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    // Far more refusals than there are receive buffers, which the guest does not give back.
    let mut taken = 0;
    for port in 0..2000u32 {
        let header = Header { src_port: port, ..guest.header(99, op::RW) };
        vm_memory::Bytes::write_slice(
            &memory,
            &header.to_bytes(),
            vm_memory::GuestAddress(0x90_0000),
        )
        .unwrap();
        guest.tx.offer(&[Buffer::Readable(0x90_0000, HEADER_LEN as u32)]);
        guest.process();
        if guest.tx.take_used().is_none() {
            break;
        }
        taken += 1;
    }
    assert!((250..400).contains(&taken), "{taken} packets taken");
    // With room again it goes on by itself.
    assert!(guest.next().is_some());
    guest.process();
    assert!(guest.tx.take_used().is_some());
}

#[test]
fn connections_are_limited() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let listener = guest.listen(1);
    let accept = std::thread::spawn(move || {
        let hosts: Vec<_> = (0..MAX_CONNECTIONS).map(|_| listener.accept().unwrap()).collect();
        (listener, hosts)
    });
    let mut src_port = 10_000;
    let mut opened = 0;
    while opened < MAX_CONNECTIONS {
        src_port += 1;
        let request = Header { src_port, ..guest.header(1, op::REQUEST) };
        guest.send_raw(request, &[], 1);
        // A full backlog refuses as well; then it is tried again.
        opened += usize::from(guest.next().unwrap().0.op == op::RESPONSE);
    }
    let (_listener, _hosts) = accept.join().unwrap();
    guest.send(1, op::REQUEST);
    let (header, _) = guest.next().unwrap();
    assert_eq!((header.op, header.dst_port), (op::RST, GUEST_PORT));
}
