//! Every device, driven by a guest through KVM: registers by exits, notifications by events,
//! what comes of it by the serial line.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use microagent_vmm_protocol::{MonitorNet, NetKind, Request};

use crate::virtio::Buffer::{In, Out};
use crate::virtio::device;
use crate::vsock::{REQUEST, packet};
use crate::{Fixture, Guest, add_disk, kvm_is_missing, vsock};

/// Where buffers are.
const HEADERS: u32 = 0x11_1000;
const STATUS: u32 = 0x11_2000;
const DATA: u32 = 0x11_3000;
const MORE: u32 = 0x11_5000;

/// `struct virtio_blk_req` up to its data.
fn block_header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

/// A guest that makes one request of each type; it shows the statuses, the serial number, and
/// what was in sector 1.
fn block_guest() -> Vec<u8> {
    let disk = device(0);
    let header = |request: u32| Out(HEADERS + request * 16, 16);
    let status = |request: u32| In(STATUS + request, 1);
    let headers = [
        block_header(8, 0),  // serial number
        block_header(0, 1),  // read
        block_header(1, 2),  // write
        block_header(4, 0),  // flush
        block_header(11, 0), // discard
        block_header(13, 0), // write zeroes
        block_header(99, 0), // none of these
    ];
    // Eight sectors each: those from 8 on, those from 16 on.
    let segment = |sector: u64| [&sector.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat();
    let guest = Guest::new()
        .data(HEADERS, headers.concat())
        .data(STATUS, [0xff; 8])
        .data(DATA + 0x200, [b'w'; 512])
        .data(MORE, segment(8))
        .data(MORE + 16, segment(16));
    // A queue of eight descriptors: in two turns.
    let first: [&[_]; 2] =
        [&[header(0), In(DATA + 0x400, 20), status(0)], &[header(1), In(DATA, 512), status(1)]];
    let guest = guest.chains(disk, 0, &first).start(disk, 1).do_chains(disk, 0, 2);
    let guest = guest.say_memory(STATUS, 2).say_memory(DATA + 0x400, 20).say_memory(DATA, 6);
    guest.power_off()
}

#[test]
fn a_block_device_reads_and_tells_its_serial_number() {
    if kvm_is_missing() {
        return;
    }
    let mut fixture = Fixture::new(&block_guest());
    add_disk(&mut fixture, "disk-1", 16 << 10);
    let mut content = vec![0; 16 << 10];
    content[512..518].copy_from_slice(b"sector");
    fs::write(fixture.path("disk-1"), content).unwrap();
    let ended = fixture.run();
    assert_eq!(ended.console, "\0\0disk-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0sector", "{ended:?}");
    assert_eq!(ended.code, Some(0));
}

/// Runs one request with these buffers between header and status: the status, as the guest
/// shows it.
fn block_request(fixture: &mut Fixture, kind: u32, sector: u64, data: &[u8]) -> u8 {
    let disk = device(0);
    let chain = [Out(HEADERS, 16), Out(DATA, data.len() as u32), In(STATUS, 1)];
    let chain: Vec<_> = chain.into_iter().filter(|b| !matches!(b, Out(_, 0))).collect();
    let kernel = Guest::new()
        .data(HEADERS, block_header(kind, sector))
        .data(DATA, data)
        .data(STATUS, [0x7f])
        .chains(disk, 0, &[&chain])
        .start(disk, 1)
        .do_chains(disk, 0, 1)
        .say_memory(STATUS, 1)
        .power_off();
    fs::write(&fixture.spec.kernel, kernel).unwrap();
    let ended = fixture.run();
    assert_eq!((ended.code, ended.console.len()), (Some(0), 1), "{ended:?}");
    ended.console.as_bytes()[0]
}

#[test]
fn a_block_device_does_what_it_is_asked_for() {
    if kvm_is_missing() {
        return;
    }
    let segment = |sector: u64| [&sector.to_le_bytes()[..], &8u32.to_le_bytes(), &[0; 4]].concat();
    let mut fixture = Fixture::new(&[]);
    add_disk(&mut fixture, "disk", 16 << 10);
    fs::write(fixture.path("disk"), [b'x'; 16 << 10]).unwrap();
    let mut check = |kind, sector, data: &[u8], status, expect: (usize, u8)| {
        assert_eq!(block_request(&mut fixture, kind, sector, data), status, "{kind}");
        let content = fs::read(fixture.path("disk")).unwrap();
        assert_eq!(content.len(), 16 << 10);
        assert_eq!(content[expect.0], expect.1, "{kind}");
    };
    check(1, 2, &[b'w'; 512], 0, (1024, b'w'));
    check(4, 0, &[], 0, (1024, b'w'));
    check(11, 0, &segment(8), 0, (4096, 0));
    check(13, 0, &segment(16), 0, (8192, 0));
    check(99, 0, &[], 2, (0, b'x'));
    check(1, 32, &[b'w'; 512], 1, (0, b'x'));
    fixture.spec.disks[0].read_only = true;
    assert_eq!(block_request(&mut fixture, 1, 0, &[b'w'; 512]), 1);
    assert_eq!(fs::read(fixture.path("disk")).unwrap()[0], b'x');
}

#[test]
fn an_entropy_device_fills_what_it_is_given() {
    if kvm_is_missing() {
        return;
    }
    let rng = device(0);
    let guest = Guest::new()
        .chains(rng, 0, &[&[In(DATA, 16)]])
        .start(rng, 1)
        .do_chains(rng, 0, 1)
        .say_memory(rng.used_len(0, 0), 1)
        .say("up\n")
        .spin();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.rng = true;
    let mut monitor = fixture.spawn();
    let mut driver = monitor.connect();
    driver.state(&Request::Start);
    assert_eq!(monitor.wait_for("up\n"), "\x10up\n");
    let stats = driver.stats();
    let [rng] = &stats.devices[..] else { panic!("{stats:?}") };
    assert_eq!((rng.chains, rng.bytes_to_guest, rng.malformed), (1, 16, 0));
}

#[test]
fn a_console_device_writes_where_the_serial_line_does() {
    if kvm_is_missing() {
        return;
    }
    let console = device(0);
    let guest = Guest::new()
        .data(DATA, *b"by queue\n")
        .chains(console, 1, &[&[Out(DATA, 9)]])
        .say("by port\n")
        .start(console, 2)
        .do_chains(console, 1, 1)
        .power_off();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.virtio_console = true;
    assert_eq!(fixture.run().console, "by port\nby queue\n");
}

/// The last words of a guest that does not wait until they were taken.
#[test]
fn what_was_given_to_a_device_before_the_end_is_done() {
    if kvm_is_missing() {
        return;
    }
    let console = device(0);
    let guest = Guest::new()
        .data(DATA, *b"last words\n")
        .chains(console, 1, &[&[Out(DATA, 11)]])
        .start(console, 2)
        .offer(console, 1, 1)
        .power_off();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.virtio_console = true;
    assert_eq!(fixture.run().console, "last words\n");
}

#[test]
fn a_network_device_carries_frames_both_ways() {
    if kvm_is_missing() {
        return;
    }
    const HEADER: usize = 12;
    const FRAME: usize = 60;
    let net = device(0);
    let packet = [vec![0; HEADER], vec![b'g'; FRAME]].concat();
    let guest = Guest::new()
        .data(DATA, packet)
        .chains(net, 0, &[&[In(MORE, 2048)]])
        .chains(net, 1, &[&[Out(DATA, (HEADER + FRAME) as u32)]])
        .start(net, 2)
        .offer(net, 0, 1)
        .do_chains(net, 1, 1)
        .wait_used(net, 0, 1)
        .say_memory(MORE + HEADER as u32, FRAME as u32)
        .power_off();
    let mut fixture = Fixture::new(&guest);
    let (mut host, end) = UnixStream::pair().unwrap();
    fixture.spec.net = Some(MonitorNet { mac: [2, 0, 0, 0, 0, 1], kind: NetKind::Stream });
    fixture.net = Some(end.into());
    let monitor = fixture.spawn();
    monitor.connect().state(&Request::Start);
    let mut frame = [0; 4 + FRAME];
    host.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..4], (FRAME as u32).to_be_bytes());
    assert_eq!(frame[4..], [b'g'; FRAME]);
    frame[4..].fill(b'h');
    host.write_all(&frame).unwrap();
    assert_eq!(monitor.end().console, "h".repeat(FRAME));
}

/// Data for the host in a chain that ends before its header does, in one that never ends, and
/// where there is no memory.
#[test]
fn devices_outlast_their_drivers() {
    if kvm_is_missing() {
        return;
    }
    let mut guest = Guest::new().data(DATA, *b"still here\n");
    for slot in 0..5 {
        let (nowhere, everything) = (0xdead_0000, u32::MAX);
        let bad: [&[_]; 3] = [
            &[Out(DATA, 3)],
            &[Out(nowhere, 16), In(nowhere, everything)],
            &[In(MORE, 16), Out(DATA, everything)],
        ];
        let queues = if slot == 0 || slot == 3 { 1 } else { 2 };
        let last = queues - 1;
        guest = guest.chains(device(slot), last, &bad).abuse(device(slot));
        guest = guest.restart(device(slot), queues).offer(device(slot), last, 3);
        // More chains than the queue has room for.
        guest = guest.offer(device(slot), last, 0x4000).abuse(device(slot));
    }
    // The first of the console's chains, three bytes, is one that makes sense to it.
    let console = device(4);
    let guest = guest.restart(console, 2).do_chains(console, 1, 1).say("alive\n").power_off();
    let mut fixture = Fixture::new(&guest);
    add_disk(&mut fixture, "disk", 4096);
    fixture.spec.vsock = Some(vsock("vsock"));
    fixture.spec.net = Some(MonitorNet { mac: [2, 0, 0, 0, 0, 1], kind: NetKind::Stream });
    let (_host, end) = UnixStream::pair().unwrap();
    fixture.net = Some(end.into());
    fixture.spec.rng = true;
    fixture.spec.virtio_console = true;
    let ended = fixture.run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.console.ends_with("stialive\n"), "{ended:?}");
}

#[test]
fn a_device_that_is_reset_begins_anew() {
    if kvm_is_missing() {
        return;
    }
    let (rng, socket) = (device(1), device(0));
    let request = packet(REQUEST, b"");
    let guest = Guest::new()
        .data(DATA, request.clone())
        .chains(socket, 0, &[&[In(0x11_6000, 256)]])
        .chains(socket, 1, &[&[Out(DATA, request.len() as u32)]])
        .chains(rng, 0, &[&[In(MORE, 16)]]);
    let connect = |guest: Guest| {
        let guest = guest.offer(socket, 0, 1).do_chains(socket, 1, 1).wait_used(socket, 0, 1);
        guest.say("connected\n").do_chains(rng, 0, 1)
    };
    let guest = connect(guest.start(socket, 3).start(rng, 1));
    let guest = connect(guest.restart(socket, 3).restart(rng, 1)).power_off();
    let mut fixture = Fixture::new(&guest);
    fixture.spec.vsock = Some(vsock("vsock"));
    fixture.spec.rng = true;
    let listener = UnixListener::bind(fixture.path("vsock_1024")).unwrap();
    let mut monitor = fixture.spawn();
    monitor.connect().state(&Request::Start);
    let (mut first, _) = listener.accept().unwrap();
    monitor.wait_for("connected\n");
    // The connection of the driver that is gone is gone too.
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    let _second = listener.accept().unwrap();
    assert_eq!(monitor.end().console, "connected\n");
}
