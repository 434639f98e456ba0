//! What the driver reads, and how the device begins and ends.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::driver::{Guest, MAC, frame, guest_memory, send};
use crate::testing::{DriverQueue, Recorder, activation};
use crate::virtio::device::{DeviceError, VirtioDevice};
use crate::virtio::net::protocol::feature;
use crate::virtio::net::{Config, HostEnd, Net, NetError};

fn net(mac: [u8; 6], mtu: Option<u16>) -> Result<Net, NetError> {
    let (ours, _) = UnixStream::pair().unwrap();
    Net::new(Config { mac, mtu, host: HostEnd::Stream(ours) })
}

#[test]
fn configuration() {
    let check = |mtu: Option<u16>, expect: [u8; 14]| {
        let device = net(MAC, mtu).unwrap();
        let mut space = [0xff; 14];
        device.read_config(0, &mut space);
        assert_eq!(space, expect);
        assert_eq!(device.features() & feature::MTU != 0, mtu.is_some());
    };
    check(None, [2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0]);
    check(Some(65520), [2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0xf0, 0xff, 0, 0]);
}

#[test]
fn what_cannot_be_a_device() {
    assert!(matches!(net([1, 0, 0, 0, 0, 1], None), Err(NetError::Mac(_))));
    assert!(matches!(net([0; 6], None), Err(NetError::Mac(_))));
    assert!(matches!(net(MAC, Some(67)), Err(NetError::Mtu(67))));
    assert!(net(MAC, Some(68)).is_ok());
}

#[test]
fn queues_that_cannot_be_used() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let features = guest.device.features();
    let rx = DriverQueue::new(&memory, 0x1000, 256);
    let mut check = |queues: &[Option<&DriverQueue<'_>>], expect| {
        let activation = activation(&guest.device, &memory, features, queues, &Recorder::new());
        assert_eq!(guest.device.activate(activation), Err(expect));
    };
    check(&[], DeviceError::QueueMissing { queue: 0 });
    check(&[Some(&rx)], DeviceError::QueueMissing { queue: 1 });
    let outside = DriverQueue::new(&memory, 0x7f_ff00, 256);
    check(&[Some(&rx), Some(&outside)], DeviceError::BrokenQueue { queue: 1 });
    guest.device.queue_kicked(9).unwrap();
    guest.activate(features);
    guest.still_works(&mut host);
}

#[test]
fn reset_and_on() {
    let memory = guest_memory();
    let (mut guest, mut host) = Guest::new(&memory);
    let features = guest.device.features();
    guest.still_works(&mut host);
    guest.offer(2, 1600);
    guest.device.reset();
    // Inactive: what the host sends waits.
    send(&mut host, &frame(99, 4));
    guest.settle();
    guest.kick_rx();
    assert_eq!(guest.take(), None);
    guest.device.reset();
    guest.activate(features);
    guest.offer(1, 1600);
    guest.kick_rx();
    assert_eq!(guest.take(), Some((frame(99, 4), 1)));
    guest.activate(features);
    guest.still_works(&mut host);
}

#[test]
fn a_host_that_goes() {
    let memory = guest_memory();
    let check = |ending: fn(UnixStream)| {
        let (mut guest, host) = Guest::new(&memory);
        let features = guest.device.features();
        guest.offer(3, 1600);
        guest.kick_rx();
        ending(host);
        guest.settle();
        assert_eq!(guest.take(), Some((frame(70, 6), 1)), "what came before");
        assert_eq!(guest.interrupt.take_config(), 1);
        let mut status = [0xff; 2];
        guest.device.read_config(6, &mut status);
        assert_eq!(status, [0, 0]);
        // What the guest sends goes nowhere, and its buffers come back.
        let head = guest.send(&frame(60, 1));
        guest.settle();
        assert_eq!(guest.tx.take_used(), Some((head, 0)));
        assert_eq!(guest.device.metrics().dropped_from_guest, 1);
        assert_eq!(guest.interrupt.take_config(), 0);
        guest.activate(features);
        guest.send(&frame(60, 1));
        assert!(guest.tx.take_used().is_some());
    };
    check(|mut host| send(&mut host, &frame(70, 6)));
    check(|mut host| {
        send(&mut host, &frame(70, 6));
        host.write_all(&[0, 0, 5]).unwrap();
    });
    // Frames that cannot be.
    check(|mut host| {
        send(&mut host, &frame(70, 6));
        host.write_all(&[0xff; 64]).unwrap();
    });
    check(|mut host| {
        send(&mut host, &frame(70, 6));
        host.write_all(&65554u32.to_be_bytes()).unwrap();
    });
}

#[test]
fn a_host_that_goes_while_a_frame_is_sent() {
    let memory = guest_memory();
    let (mut guest, host) = Guest::new(&memory);
    drop(host);
    let head = guest.send(&frame(60, 1));
    guest.settle();
    assert_eq!(guest.tx.take_used(), Some((head, 0)));
    assert_eq!(guest.interrupt.take_config(), 1);
}
