//! `serve-vsock`.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use microagent_devices::virtio::vsock::{HEADER_LEN, HOST_CID, Header, Kind};
use microagent_vmm_protocol::{ServeVsockSpec, VERSION, VSOCK_LISTENER_FD};

use crate::frontend::{Frontend, shared_memory};
use crate::server::{Server, SpecOf};

const KINDS: [Kind; 7] = [
    Kind::Request,
    Kind::Response,
    Kind::Reset,
    Kind::Shutdown,
    Kind::Data,
    Kind::CreditUpdate,
    Kind::CreditRequest,
];

impl Server {
    fn vsock(attached: bool) -> Self {
        Self::start(vsock(attached, |_| ()))
    }

    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.dir().join(format!("vsock_{port}"))).unwrap()
    }
}

/// What a server is told, but for this.
fn vsock(attached: bool, change: fn(&mut ServeVsockSpec)) -> SpecOf {
    SpecOf {
        argument: "serve-vsock",
        attached,
        end: Box::new(|dir| {
            (UnixListener::bind(dir.join("vsock")).unwrap().into(), VSOCK_LISTENER_FD)
        }),
        spec: Box::new(move |dir| {
            let (dir, socket) = (dir.to_owned(), "vsock".into());
            let mut spec = ServeVsockSpec { version: VERSION, dir, socket, cid: 3, attached };
            change(&mut spec);
            serde_json::to_vec(&spec).unwrap()
        }),
    }
}

impl Frontend<'_> {
    /// Sends a packet to a port of the host.
    fn send(&mut self, kind: Kind, port: u32, data: &[u8]) {
        let op = 1 + KINDS.iter().position(|k| *k == kind).unwrap() as u16;
        let header = Header {
            src_cid: 3,
            dst_cid: HOST_CID,
            src_port: 7,
            dst_port: port,
            len: data.len() as u32,
            kind: 1,
            op,
            flags: 0,
            buf_alloc: 1 << 16,
            fwd_cnt: 0,
        };
        self.transmit(&[&header.to_bytes()[..], data].concat());
    }

    /// The next packet for the guest.
    fn next(&mut self) -> (Kind, Vec<u8>) {
        let bytes = self.receive();
        let (header, data) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
        let header = Header::from_bytes(header);
        (header.kind().unwrap(), data[..header.len as usize].to_vec())
    }
}

#[test]
fn a_guest_and_a_host_program_talk() {
    let memory = shared_memory();
    let mut server = Server::vsock(true);
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
    let mut server = Server::vsock(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    server.end_life();
    assert!(server.end().success());
    let mut server = Server::vsock(true);
    server.end_life();
    assert!(server.end().success());
}

#[test]
fn it_is_confined() {
    let memory = shared_memory();
    let server = Server::vsock(false);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    // An answer shows that all threads run.
    guest.send(Kind::Request, 99, &[]);
    assert_eq!(guest.next().0, Kind::Reset);
    assert!(server.is_confined());
}

#[test]
fn a_paused_machine_keeps_its_connections_and_a_reset_one_does_not() {
    let memory = shared_memory();
    let server = Server::vsock(true);
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
    let check = |change: fn(&mut ServeVsockSpec), expect: &str| {
        let (status, text) = Server::refused(vsock(false, change));
        assert!(!status.success() && text.contains(expect), "{text}");
    };
    check(|s| s.version = 9, "has version 9");
    check(|s| s.cid = 2, "guest context id 2 is reserved");
    check(|s| s.socket = "../vsock".into(), "expected a file name");
    check(|s| s.dir = "/does/not/exist".into(), "cannot enter the run directory");
}
