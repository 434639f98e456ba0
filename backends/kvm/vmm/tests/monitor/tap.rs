//! A network device with a tap device behind it, in a network namespace of the test's own.
#![allow(unsafe_code)] // a namespace, and the request that names a tap device

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use microagent_vmm_protocol::{MonitorNet, NetKind, Request};

use crate::virtio::Buffer::{In, Out};
use crate::virtio::device;
use crate::{Fixture, Guest, kvm_is_missing};

const NAME: &[u8] = b"tap0";
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// From a range for documentation (RFC 5737).
const HOST_ADDRESS: [u8; 4] = [192, 0, 2, 2];
const GUEST_ADDRESS: [u8; 4] = [192, 0, 2, 1];

/// `struct virtio_net_hdr` with the number of buffers.
const HEADER: u32 = 12;
const ETHERNET: u32 = 14;
/// Of IPv4 and UDP.
const HEADERS: u32 = 20 + 8;

/// Makes a tap device for the calling thread alone, or says why it cannot.
fn tap() -> io::Result<File> {
    // SAFETY: the thread gets a new network namespace, which no memory depends on.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeroes are a valid `struct ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request reads and writes a `struct ifreq`, which outlives the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    set_up()?;
    Ok(file)
}

/// Gives the device addresses, and nothing to say of its own accord, nor twice.
fn set_up() -> io::Result<()> {
    for words in [
        "link set tap0 address 02:00:00:00:00:02 addrgenmode none",
        "address add 192.0.2.2/24 dev tap0",
        "ntable change name arp_cache dev tap0 retrans 60000",
        "link set tap0 up",
    ] {
        let status = Command::new("ip").args(words.split(' ')).status()?;
        assert!(status.success(), "ip {words}");
    }
    Ok(())
}

/// That the guest's address is at the guest's device (RFC 826), for the host.
fn arp_reply() -> Vec<u8> {
    let mut frame = [&HOST[..], &GUEST, &[8, 6]].concat();
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend([&GUEST[..], &GUEST_ADDRESS, &HOST, &HOST_ADDRESS].concat());
    frame.resize(60, 0);
    frame
}

/// The host cannot send its datagram before it knows whom to, so all of it takes frames both
/// ways.
#[test]
fn a_network_device_carries_frames_of_a_tap_device() {
    if kvm_is_missing() {
        return;
    }
    // A thread of its own, whose namespace ends with it.
    thread::spawn(|| match tap() {
        Ok(tap) => converse(tap),
        Err(error) => {
            let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|word| word == "root"), "root is required: {error}");
            eprintln!("SKIP: a tap device cannot be made: {error}");
        }
    })
    .join()
    .unwrap();
}

fn converse(tap: File) {
    const SENT: u32 = 0x11_1000;
    const ASKED: u32 = 0x11_2000;
    const TOLD: u32 = 0x11_3000;
    let net = device(0);
    let reply = [vec![0; HEADER as usize], arp_reply()].concat();
    let guest = Guest::new()
        .chains(net, 0, &[&[In(ASKED, 2048)], &[In(TOLD, 2048)]])
        .chains(net, 1, &[&[Out(SENT, reply.len() as u32)]])
        .data(SENT, reply)
        .start(net, 2)
        .offer(net, 0, 2)
        .say("up\n")
        .wait_used(net, 0, 1)
        .say_memory(ASKED + HEADER + 12, 2) // what it is: a question for an address
        .do_chains(net, 1, 1)
        .wait_used(net, 0, 2)
        .say_memory(TOLD + HEADER + ETHERNET + HEADERS, 5)
        .power_off();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.net = Some(MonitorNet { mac: GUEST, kind: NetKind::Tap });
    fixture.net = Some(tap.into());
    let mut monitor = fixture.spawn();
    monitor.connect().state(&Request::Start);
    monitor.wait_for("up\n");
    let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
    socket.send_to(b"hello", "192.0.2.1:9").unwrap();
    assert_eq!(monitor.end().console, "\x08\x06hello");
}
