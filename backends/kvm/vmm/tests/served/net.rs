//! `serve-net`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use microagent_vmm_protocol::{SERVE_NET_FD, ServeNetSpec, VERSION};

use crate::frontend::{Frontend, shared_memory};
use crate::server::{Server, SpecOf};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// What is before each frame in the guest's buffers (virtio 1.2, 5.1.6): no flags, one buffer.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server is told, but for this, and what stands in the gateway's place.
fn net(attached: bool, change: fn(&mut ServeNetSpec)) -> (SpecOf, UnixStream) {
    let (gateway, end) = UnixStream::pair().unwrap();
    gateway.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut spec = ServeNetSpec { version: VERSION, mac: MAC, attached };
    change(&mut spec);
    let asked = SpecOf {
        argument: "serve-net",
        attached,
        end: Box::new(move |_| (end.into(), SERVE_NET_FD)),
        spec: Box::new(move |_| serde_json::to_vec(&spec).unwrap()),
    };
    (asked, gateway)
}

fn start(attached: bool) -> (Server, UnixStream) {
    let (spec, gateway) = net(attached, |_| ());
    (Server::start(spec), gateway)
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(13) ^ seed).collect()
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

/// Has the guest send a frame, which has to come to the gateway.
fn from_guest(guest: &mut Frontend<'_>, gateway: &mut UnixStream, frame: &[u8]) {
    guest.transmit(&[&HEADER[..10], &[0, 0], frame].concat());
    let mut came = vec![0; 4 + frame.len()];
    gateway.read_exact(&mut came).unwrap();
    assert_eq!(came, framed(frame));
}

/// Waits for a frame of the gateway in the guest.
fn to_guest(guest: &mut Frontend<'_>, frame: &[u8]) {
    assert_eq!(guest.receive(), [&HEADER[..], frame].concat());
}

#[test]
fn frames_go_both_ways() {
    let memory = shared_memory();
    let (mut server, mut gateway) = start(true);
    // What comes before there is a guest waits for it.
    gateway.write_all(&framed(&frame(60, 1))).unwrap();
    let mut guest = Frontend::connect(&server, &memory);
    assert_eq!(guest.config(), [2, 0, 0, 0, 0, 2, 1, 0]);
    guest.start();
    from_guest(&mut guest, &mut gateway, &frame(1514, 2));
    to_guest(&mut guest, &frame(60, 1));
    for seed in 3..8 {
        gateway.write_all(&framed(&frame(1514, seed))).unwrap();
        to_guest(&mut guest, &frame(1514, seed));
        from_guest(&mut guest, &mut gateway, &frame(42, seed));
    }
    drop(guest);
    assert!(server.end().success());
    assert_eq!(gateway.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_paused_machine_goes_on_and_a_reset_one_begins_anew() {
    let memory = shared_memory();
    let (server, mut gateway) = start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    from_guest(&mut guest, &mut gateway, &frame(60, 1));
    gateway.write_all(&framed(&frame(60, 2))).unwrap();
    to_guest(&mut guest, &frame(60, 2));
    guest.pause();
    gateway.write_all(&framed(&frame(60, 3))).unwrap();
    guest.resume();
    from_guest(&mut guest, &mut gateway, &frame(60, 4));
    to_guest(&mut guest, &frame(60, 3));
    guest.share_memory();
    gateway.write_all(&framed(&frame(60, 5))).unwrap();
    from_guest(&mut guest, &mut gateway, &frame(60, 6));
    to_guest(&mut guest, &frame(60, 5));
    guest.pause();
    guest.start_anew();
    from_guest(&mut guest, &mut gateway, &frame(60, 7));
    gateway.write_all(&framed(&frame(60, 8))).unwrap();
    to_guest(&mut guest, &frame(60, 8));
}

#[test]
fn it_ends_with_the_life_pipe() {
    let memory = shared_memory();
    let (mut server, _gateway) = start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    server.end_life();
    assert!(server.end().success());
    let (mut server, _gateway) = start(true);
    server.end_life();
    assert!(server.end().success());
}

#[test]
fn it_is_confined() {
    let memory = shared_memory();
    let (server, mut gateway) = start(false);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    // A frame shows that all threads run.
    from_guest(&mut guest, &mut gateway, &frame(60, 1));
    assert!(server.is_confined());
}

#[test]
fn a_gateway_that_is_gone_takes_what_is_sent_nowhere() {
    let memory = shared_memory();
    let (mut server, gateway) = start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    drop(gateway);
    // Each comes back, sent or not.
    for seed in 0..40 {
        guest.transmit(&[&[0; 12], &frame(60, seed)[..]].concat());
    }
    drop(guest);
    assert!(server.end().success());
}

#[test]
fn a_driver_that_breaks_its_queue_can_begin_anew() {
    let memory = shared_memory();
    let (mut server, mut gateway) = start(true);
    let mut guest = Frontend::connect(&server, &memory);
    guest.start();
    from_guest(&mut guest, &mut gateway, &frame(60, 1));
    guest.break_queue();
    // A driver that begins anew is served again.
    guest.pause();
    guest.start_anew();
    from_guest(&mut guest, &mut gateway, &frame(60, 2));
    drop(guest);
    assert!(server.end().success());
}

#[test]
fn what_it_cannot_use_is_said() {
    let check = |change: fn(&mut ServeNetSpec), expect: &str| {
        let (status, text) = Server::refused(net(false, change).0);
        assert!(!status.success() && text.contains(expect), "{text}");
    };
    check(|s| s.version = 9, "has version 9");
    check(|s| s.mac = [1, 0, 0, 0, 0, 2], "is not that of one network interface");
}
