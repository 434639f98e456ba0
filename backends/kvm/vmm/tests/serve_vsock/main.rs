//! The vsock server, run for real, with this test in the place of a hypervisor and its guest.
#![allow(clippy::unwrap_used, clippy::panic)] // what fails here fails a test

mod frontend;
mod server;

use std::io::{Read, Write};

use microagent_devices::virtio::vsock::Kind;

use crate::frontend::{Frontend, shared_memory};
use crate::server::Server;

#[test]
fn a_guest_and_a_host_program_talk() {
    let memory = shared_memory();
    let mut server = Server::start(true);
    let mut guest = Frontend::connect(&server, &memory);
    assert_eq!(guest.config(), [3, 0, 0, 0, 0, 0, 0, 0]);
    guest.start();
    let listener = server.listen(1024);
    guest.send(Kind::Request, 1024, &[]);
    assert_eq!(guest.next().0, Kind::Response);
    let (mut host, _) = listener.accept().unwrap();
    guest.send(Kind::Data, 1024, b"hello");
    let mut text = [0; 5];
    host.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
    host.write_all(b"hello yourself").unwrap();
    assert_eq!(guest.next(), (Kind::Data, b"hello yourself".to_vec()));
    guest.send(Kind::Request, 99, &[]);
    assert_eq!(guest.next().0, Kind::Reset);
    drop(guest);
    assert!(server.end().success());
    assert_eq!(host.read(&mut text).unwrap(), 0);
}

#[test]
fn it_ends_with_the_life_pipe() {
    let memory = shared_memory();
    let mut server = Server::start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    server.end_life();
    assert!(server.end().success());
    let mut server = Server::start(true);
    server.end_life();
    assert!(server.end().success());
}

#[test]
fn it_is_confined() {
    let memory = shared_memory();
    let server = Server::start(false);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    // An answer shows that all threads run.
    guest.send(Kind::Request, 99, &[]);
    assert_eq!(guest.next().0, Kind::Reset);
    let filtered = if cfg!(target_arch = "x86_64") { "Seccomp:\t2" } else { "Seccomp:\t0" };
    for status in server.threads() {
        for line in ["NoNewPrivs:\t1", filtered] {
            assert!(status.lines().any(|l| l == line), "no {line} in {status}");
        }
    }
}

#[test]
fn a_paused_machine_keeps_its_connections_and_a_reset_one_does_not() {
    let memory = shared_memory();
    let server = Server::start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    let listener = server.listen(1);
    guest.send(Kind::Request, 1, &[]);
    assert_eq!(guest.next().0, Kind::Response);
    let (mut host, _) = listener.accept().unwrap();
    guest.pause();
    host.write_all(b"while you slept").unwrap();
    guest.resume();
    assert_eq!(guest.next(), (Kind::Data, b"while you slept".to_vec()));
    guest.pause();
    guest.start_anew();
    guest.send(Kind::Data, 1, b"who?");
    assert_eq!(guest.next().0, Kind::Reset);
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_it_cannot_use_is_said() {
    let check = |change: fn(&mut microagent_vmm_protocol::ServeVsockSpec), expect: &str| {
        let (status, text) = Server::refused(change);
        assert!(!status.success() && text.contains(expect), "{text}");
    };
    check(|s| s.version = 9, "has version 9");
    check(|s| s.cid = 2, "guest context id 2 is reserved");
    check(|s| s.socket = "../vsock".into(), "expected a file name");
    check(|s| s.dir = "/does/not/exist".into(), "cannot enter the run directory");
}
