//! How connections end, one direction at a time or all at once.

use std::io::Write;
use std::net::Shutdown;

use super::driver::{Guest, guest_memory, is_at_end, read};
use crate::virtio::vsock::protocol::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};

#[test]
fn a_guest_that_has_sent_all_still_receives() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    guest.send_data(1, b"question");
    guest.shut_down(1, SHUTDOWN_SEND);
    assert_eq!(read(&mut host, 8), b"question");
    assert!(is_at_end(&mut host));
    host.write_all(b"answer").unwrap();
    assert_eq!(guest.receive(1), b"answer");
    guest.shut_down(1, SHUTDOWN_RECEIVE);
    assert_eq!(guest.next_op(1), Some(op::RST));
}

#[test]
fn a_host_that_has_sent_all_still_receives() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    host.write_all(b"question").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    let (header, data) = guest.next().unwrap();
    assert_eq!((header.op, data.as_slice()), (op::RW, &b"question"[..]));
    let (header, _) = guest.next().unwrap();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, SHUTDOWN_SEND));
    assert!(guest.next().is_none(), "it is told once");
    guest.send_data(1, b"answer");
    assert_eq!(read(&mut host, 6), b"answer");
    guest.shut_down(1, SHUTDOWN_BOTH);
    assert_eq!(guest.next_op(1), Some(op::RST));
    assert!(is_at_end(&mut host));
}

#[test]
fn a_host_that_goes_away_after_sending_loses_nothing() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    host.write_all(b"last words").unwrap();
    drop(host);
    let mut text = Vec::new();
    let mut flags = 0;
    while let Some((header, data)) = guest.next() {
        match header.op {
            op::RW => text.extend(data),
            op::SHUTDOWN => flags |= header.flags,
            other => panic!("operation {other}"),
        }
    }
    assert_eq!((text.as_slice(), flags), (&b"last words"[..], SHUTDOWN_BOTH));
    // What the guest had under way is taken and forgotten; then it resets, as Linux does.
    guest.send_data(1, b"too late");
    assert!(guest.next().is_none());
    guest.send(1, op::RST);
    assert!(guest.next().is_none());
    guest.connect(1 + 1);
}

#[test]
fn what_a_closing_guest_has_sent_arrives() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    let packet = vec![9; 64 << 10];
    // More than the host's socket takes while nobody reads, within credit.
    let mut sent = 0;
    while guest.next().is_some() || sent < 4 * packet.len() {
        guest.send_data(1, &packet);
        sent += packet.len();
    }
    guest.shut_down(1, SHUTDOWN_BOTH);
    // Linux waits a while for the answer, then resets and forgets.
    guest.send(1, op::RST);
    let reader = std::thread::spawn(move || {
        let data = read(&mut host, sent);
        (data, is_at_end(&mut host))
    });
    while !reader.is_finished() {
        guest.process();
    }
    let (data, at_end) = reader.join().unwrap();
    assert!(at_end && data.iter().all(|&byte| byte == 9));
    guest.send(1, op::CREDIT_REQUEST);
    assert_eq!(guest.next_op(1), Some(op::RST), "it is forgotten");
}

#[test]
fn what_a_guest_has_sent_before_its_driver_went_arrives() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    let idle = guest.connect(2);
    let packet = vec![9; 64 << 10];
    let mut sent = 0;
    while !guest.device.owes_host() {
        guest.send_data(1, &packet);
        sent += packet.len();
    }
    guest.restart();
    assert!(guest.device.owes_host());
    assert!(is_at_end(&mut { idle }), "nothing of it was on the way");
    // The new driver meets nothing of the old one.
    guest.send(1, op::CREDIT_REQUEST);
    assert_eq!(guest.next_op(1), Some(op::RST));
    let mut again = guest.connect(3);
    let reader = std::thread::spawn(move || {
        let data = read(&mut host, sent);
        (data, is_at_end(&mut host))
    });
    while !reader.is_finished() {
        guest.process();
    }
    let (data, at_end) = reader.join().unwrap();
    assert!(at_end && data.iter().all(|&byte| byte == 9));
    assert!(!guest.device.owes_host());
    guest.send_data(3, b"new");
    assert_eq!(read(&mut again, 3), b"new");
}

#[test]
fn a_reset_of_the_guest_ends_it_at_once() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.connect(1);
    guest.send(1, op::RST);
    assert!(is_at_end(&mut host));
    assert!(guest.next().is_none(), "a reset is not answered");
}

#[test]
fn a_host_program_that_gives_up_before_the_answer() {
    let memory = guest_memory();
    let mut guest = Guest::new(&memory);
    let mut host = guest.dial();
    host.write_all(b"CONNECT 5000\n").unwrap();
    let (request, _) = guest.next().unwrap();
    drop(host);
    assert_eq!(guest.next_op(request.src_port), Some(op::RST));
    guest.send(request.src_port, op::RESPONSE);
    assert_eq!(guest.next_op(request.src_port), Some(op::RST));
}
