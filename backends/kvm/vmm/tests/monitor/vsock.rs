//! Connections between a guest and programs of the host, made from either side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use microagent_vmm_protocol::Request;

use crate::virtio::Buffer::{In, Out};
use crate::virtio::device;
use crate::{Fixture, Guest, kvm_is_missing, vsock};

/// Operations of packets (virtio 1.2, 5.10.6).
pub(crate) const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const DATA: u16 = 5;
/// Bytes of a packet before its data, and where some of them stand.
const HEADER: u32 = 44;
const SOURCE_PORT: u32 = 16;
const TARGET_PORT: u32 = 20;
const OPERATION: u32 = 30;
const FLAGS: u32 = 32;

/// Where the guest's packets are, and those that it is sent.
const OUTGOING: u32 = 0x11_1000;
const INCOMING: u32 = 0x11_3000;

/// A packet from the guest's port 99 to the host's 1024.
pub(crate) fn packet(op: u16, data: &[u8]) -> Vec<u8> {
    packet_with(op, 0, data)
}

fn packet_with(op: u16, flags: u32, data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(3u64.to_le_bytes());
    packet.extend(2u64.to_le_bytes());
    packet.extend([99u32, 1024, data.len() as u32].iter().flat_map(|word| word.to_le_bytes()));
    packet.extend([1, op].iter().flat_map(|half| half.to_le_bytes()));
    packet.extend([flags, 4096, 0].iter().flat_map(|word| word.to_le_bytes()));
    packet.extend(data);
    packet
}

/// Where the `nth` packet is.
const fn outgoing(nth: u32) -> u32 {
    OUTGOING + nth * 0x100
}

const fn incoming(nth: u32) -> u32 {
    INCOMING + nth * 0x100
}

/// A guest whose driver has room for four packets, and sends these when it is told to.
fn guest(packets: &[Vec<u8>]) -> Guest {
    let socket = device(0);
    let place = (0..).map(outgoing);
    let out: Vec<_> = place.clone().zip(packets).map(|(at, p)| [Out(at, p.len() as u32)]).collect();
    let out: Vec<&[_]> = out.iter().map(|chain| &chain[..]).collect();
    let room: Vec<_> = (0..4).map(|nth| [In(incoming(nth), 256)]).collect();
    let room: Vec<&[_]> = room.iter().map(|chain| &chain[..]).collect();
    let guest = place.zip(packets).fold(Guest::new(), |guest, (at, p)| guest.data(at, p.clone()));
    let guest = guest.chains(socket, 0, &room).chains(socket, 1, &out);
    guest.start(socket, 3).offer(socket, 0, 4)
}

/// What a guest does next.
trait Conversation {
    /// Sends its first `count` packets, as far as it has not.
    fn send(self, count: u16) -> Self;
    /// Waits until it has got `count` packets.
    fn get(self, count: u16) -> Self;
    /// Shows the operation of the packet `nth` that it got.
    fn say_operation(self, nth: u32) -> Self;
    /// Shows the data of the same.
    fn say_data(self, nth: u32, len: u32) -> Self;
}

impl Conversation for Guest {
    fn send(self, count: u16) -> Self {
        self.do_chains(device(0), 1, count)
    }

    fn get(self, count: u16) -> Self {
        self.wait_used(device(0), 0, count)
    }

    fn say_operation(self, nth: u32) -> Self {
        self.say_memory(incoming(nth) + OPERATION, 1)
    }

    fn say_data(self, nth: u32, len: u32) -> Self {
        self.say_memory(incoming(nth) + HEADER, len)
    }
}

fn fixture(kernel: &[u8]) -> Fixture {
    let mut fixture = Fixture::new(kernel);
    fixture.spec.vsock = Some(vsock("vsock"));
    fixture
}

#[test]
fn a_guest_connects_to_a_host_program() {
    if kvm_is_missing() {
        return;
    }
    let guest = guest(&[packet(REQUEST, b""), packet(DATA, b"hello")]);
    let guest = guest.send(1).get(1).say_operation(0);
    let guest = guest.send(2).get(2).say_data(1, 5).power_off();
    let mut fixture = fixture(&guest);
    let listener = UnixListener::bind(fixture.path("vsock_1024")).unwrap();
    let monitor = fixture.spawn();
    monitor.connect().state(&Request::Start);
    let (mut host, _) = listener.accept().unwrap();
    let mut text = [0; 5];
    host.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
    host.write_all(b"there").unwrap();
    assert_eq!(monitor.end().console, "\x02there");
}

/// Each side ends its own direction, the guest first, and is heard to.
#[test]
fn a_host_program_connects_to_a_guest() {
    if kvm_is_missing() {
        return;
    }
    const SHUTDOWN: u16 = 4;
    const SEND: u32 = 2;
    let packets =
        [packet(RESPONSE, b""), packet(DATA, b"welcome"), packet_with(SHUTDOWN, SEND, b"")];
    let port_of_host = incoming(0) + SOURCE_PORT;
    // To whom it answers, the guest has to learn.
    let learned = (0..3).fold(guest(&packets).get(1).say_operation(0), |guest, nth| {
        guest.copy(port_of_host, outgoing(nth) + TARGET_PORT)
    });
    let guest = learned.send(1).get(2).say_data(1, 5).send(3);
    // The last two may come at once.
    let guest = guest.get(4).say_data(2, 4).say_operation(3);
    let guest = guest.say_memory(incoming(3) + FLAGS, 1).power_off();
    let mut fixture = fixture(&guest);
    let monitor = fixture.spawn();
    let mut host = BufReader::new(UnixStream::connect(fixture.path("vsock")).unwrap());
    host.get_mut().write_all(b"CONNECT 99\n").unwrap();
    monitor.connect().state(&Request::Start);
    let mut answer = String::new();
    host.read_line(&mut answer).unwrap();
    let port = answer.strip_prefix("OK ").and_then(|rest| rest.trim_end().parse::<u32>().ok());
    assert!(port.is_some(), "{answer:?}");
    host.get_mut().write_all(b"hello").unwrap();
    let mut text = String::new();
    // Up to the guest's end, after which it still listens.
    host.read_to_string(&mut text).unwrap();
    assert_eq!(text, "welcome");
    host.get_mut().write_all(b"more").unwrap();
    host.get_mut().shutdown(Shutdown::Write).unwrap();
    let console = monitor.end().console;
    // That the host end takes no more, which the guest said itself, may be told as well.
    assert!(
        ["\x02", "\x03"].map(|f| format!("\x01hellomore\x04{f}")).contains(&console),
        "{console:?}"
    );
}

#[test]
fn a_port_that_a_guest_refuses_is_closed() {
    if kvm_is_missing() {
        return;
    }
    const RESET: u16 = 3;
    let guest = guest(&[packet(RESET, b"")]).get(1);
    let guest = guest.copy(incoming(0) + SOURCE_PORT, outgoing(0) + TARGET_PORT).send(1);
    let mut fixture = fixture(&guest.say("refused\n").spin());
    let mut monitor = fixture.spawn();
    let mut host = UnixStream::connect(fixture.path("vsock")).unwrap();
    host.write_all(b"CONNECT 99\n").unwrap();
    monitor.connect().state(&Request::Start);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    monitor.wait_for("refused\n");
}
