//! Connections, data and credit.

use std::io::{Read, Write};

use super::driver::{GUEST_BUFFER, Guest, guest_memory, is_at_end, read};
use crate::virtio::vsock::credit::BUFFER;
use crate::virtio::vsock::protocol::{MAX_DATA, op};
use crate::virtio::vsock::{Config, Header, Vsock, VsockError};

#[test]
fn a_guest_talks_to_a_host_program() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1024);
    guest.send_data(1024, b"hello");
    assert_eq!(read(&mut host, 5), b"hello");
    host.write_all(b"hello yourself").unwrap();
    assert_eq!(guest.receive(1024), b"hello yourself");
}

#[test]
fn a_host_program_talks_to_the_guest() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.dial();
    host.write_all(b"CONNECT 5000\nearly").unwrap();
    let (request, _) = guest.next().unwrap();
    assert_eq!((request.op, request.dst_port), (op::REQUEST, 5000));
    let port = request.src_port;
    guest.send(port, op::RESPONSE);
    let line = format!("OK {port}\n");
    assert_eq!(read(&mut host, line.len()), line.as_bytes());
    assert_eq!(guest.receive(port), b"early");
    guest.send_data(port, b"late");
    assert_eq!(read(&mut host, 4), b"late");
}

#[test]
fn what_nobody_listens_for_is_refused() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    guest.send(77, op::REQUEST);
    assert_eq!(guest.next_op(77), Some(op::RST));
    let mut host = guest.dial();
    host.write_all(b"CONNECT 5000\n").unwrap();
    let (request, _) = guest.next().unwrap();
    guest.send(request.src_port, op::RST);
    assert!(is_at_end(&mut host));
    let mut host = guest.dial();
    host.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(guest.next().is_none());
    // The rest of the line was not read, so that the end is a reset is as well.
    assert!(!matches!(host.read(&mut [0; 1]), Ok(1..)));
}

#[test]
fn data_in_any_number_of_pieces() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    let data: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    for piece in [200, 4096, u32::MAX] {
        let header = Header { len: data.len() as u32, ..guest.header(1, op::RW) };
        guest.send_raw(header, &data, piece);
        assert_eq!(read(&mut host, data.len()), data, "pieces of {piece}");
    }
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_by_credit() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    let packet = vec![7; MAX_DATA as usize];
    let (mut sent, mut forwarded) = (0u32, 0u32);
    // As a guest does: it sends as long as it knows of room.
    while BUFFER - (sent - forwarded) >= MAX_DATA {
        guest.send_data(1, &packet);
        sent += MAX_DATA;
        while let Some((header, _)) = guest.next() {
            assert_eq!((header.op, header.buf_alloc), (op::CREDIT_UPDATE, BUFFER));
            forwarded = header.fwd_cnt;
        }
    }
    assert!(sent - forwarded > BUFFER - MAX_DATA);
    let reader = std::thread::spawn(move || (read(&mut host, sent as usize), host));
    while forwarded < sent {
        while let Some((header, _)) = guest.next() {
            assert_eq!(header.op, op::CREDIT_UPDATE);
            forwarded = header.fwd_cnt;
        }
        if reader.is_finished() && forwarded < sent {
            // The last of it is not worth telling unasked.
            guest.send(1, op::CREDIT_REQUEST);
        }
    }
    assert_eq!(reader.join().unwrap().0, vec![7; sent as usize]);
}

#[test]
fn a_guest_that_ignores_credit_is_cut_off() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let _host = guest.connect(1);
    let packet = vec![7; MAX_DATA as usize];
    let cut = (0..100).find(|_| {
        guest.send_data(1, &packet);
        std::iter::from_fn(|| guest.next()).any(|(header, _)| header.op == op::RST)
    });
    assert!(cut.is_some());
}

#[test]
fn a_guest_that_does_not_read_stops_the_host_by_credit() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    let data: Vec<u8> = (0..2 * GUEST_BUFFER).map(|n| (n / 7) as u8).collect();
    let writer = std::thread::spawn({
        let data = data.clone();
        move || host.write_all(&data).map(|()| host)
    });
    let mut got = Vec::new();
    let mut asked = false;
    while !asked {
        if let Some((header, data)) = guest.next() {
            asked = header.op == op::CREDIT_REQUEST;
            got.extend(data);
        }
    }
    assert_eq!(got.len(), GUEST_BUFFER as usize);
    assert!(guest.next().is_none(), "it asks once");
    let update = Header { fwd_cnt: GUEST_BUFFER, ..guest.header(1, op::CREDIT_UPDATE) };
    guest.send_raw(update, &[], 1);
    while got.len() < data.len() {
        if let Some((header, data)) = guest.next() {
            assert_eq!(header.op, op::RW);
            got.extend(data);
        }
    }
    assert_eq!(got, data);
    assert!(writer.join().unwrap().is_ok());
}

#[test]
fn credit_is_told_when_asked() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let _host = guest.connect(1);
    guest.send(1, op::CREDIT_REQUEST);
    let (header, _) = guest.next().unwrap();
    assert_eq!((header.op, header.buf_alloc, header.fwd_cnt), (op::CREDIT_UPDATE, BUFFER, 0));
    assert!(guest.next().is_none());
}

#[test]
fn connections_do_not_mix() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut hosts: Vec<_> = (1..=20).map(|port| (port, guest.connect(port))).collect();
    for (port, host) in &mut hosts {
        guest.send_data(*port, &port.to_le_bytes());
        host.write_all(&port.to_be_bytes()).unwrap();
    }
    for (port, host) in &mut hosts {
        assert_eq!(read(host, 4), port.to_le_bytes());
    }
    let mut seen: Vec<_> =
        std::iter::from_fn(|| guest.next()).map(|(header, data)| (header.src_port, data)).collect();
    seen.sort();
    let expect: Vec<_> = (1..=20u32).map(|port| (port, port.to_be_bytes().to_vec())).collect();
    assert_eq!(seen, expect);
}

#[test]
fn a_driver_that_starts_anew_finds_nothing_old() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut old = guest.connect(1);
    guest.restart();
    assert!(is_at_end(&mut old));
    guest.send_data(1, b"who?");
    assert_eq!(guest.next_op(1), Some(op::RST));
    let mut new = guest.connect(2);
    guest.send_data(2, b"hello");
    assert_eq!(read(&mut new, 5), b"hello");
}

#[test]
fn reserved_context_ids_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for guest_cid in [0, 1, 2, u32::MAX] {
        let path = dir.path().join(guest_cid.to_string());
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let made = Vsock::new(Config { guest_cid, socket: "s".into(), listener });
        assert!(matches!(made, Err(VsockError::Cid(cid)) if cid == guest_cid));
    }
}

#[test]
fn what_host_programs_did_to_an_inactive_device_is_kept_and_not_told_again() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::fd::AsFd;
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.dial();
    host.write_all(b"CONNECT 5000\n").unwrap();
    let readable = |guest: &Guest<'_>| {
        let mut fds = [PollFd::from_borrowed_fd(guest.device.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    };
    assert!(readable(&guest));
    guest.device.notice_host();
    assert!(!readable(&guest));
    assert_eq!(guest.next().unwrap().0.op, op::REQUEST);
}
