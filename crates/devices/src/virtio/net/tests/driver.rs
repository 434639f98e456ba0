//! A guest and its host: a device on heap memory, with the other end of its socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::testing::{Buffer, DriverQueue, Recorder, activation, memory};
use crate::virtio::device::VirtioDevice;
use crate::virtio::net::{Config, HEADER_LEN, HostEnd, Net, QUEUE_RX, QUEUE_TX};

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const SIZE: u16 = 256;
const RX_QUEUE: u64 = 0x1000;
const TX_QUEUE: u64 = 0x4000;
/// Where a frame to send is put.
pub(super) const TX: u64 = 0x2_0000;
/// Where the buffers to receive are, one after the other.
pub(super) const RX: u64 = 0x10_0000;
const MEMORY: usize = 0x80_0000;

pub(super) fn guest_memory() -> GuestMemoryMmap {
    memory(MEMORY)
}

/// A frame of `len` bytes that is like no other.
pub(super) fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(13) ^ (at >> 8) as u8 ^ seed).collect()
}

pub(super) struct Guest<'m> {
    pub(super) memory: &'m GuestMemoryMmap,
    pub(super) rx: DriverQueue<'m>,
    pub(super) tx: DriverQueue<'m>,
    pub(super) device: Net,
    pub(super) interrupt: Arc<Recorder>,
    /// Where the next buffer to receive is.
    next: u64,
    /// The buffers that the device has, in their order.
    given: Vec<(u16, u64)>,
}

impl<'m> Guest<'m> {
    /// A driver that accepts everything, and its host.
    pub(super) fn new(memory: &'m GuestMemoryMmap) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Self::with_host(memory, HostEnd::Stream(ours)), theirs)
    }

    pub(super) fn with_host(memory: &'m GuestMemoryMmap, host: HostEnd) -> Self {
        let device = Net::new(Config { mac: MAC, mtu: Some(65520), host }).unwrap();
        let rx = DriverQueue::new(memory, RX_QUEUE, SIZE);
        let tx = DriverQueue::new(memory, TX_QUEUE, SIZE);
        let (interrupt, given) = (Recorder::new(), Vec::new());
        let mut guest = Self { memory, rx, tx, device, interrupt, next: RX, given };
        let features = guest.device.features();
        guest.activate(features);
        guest
    }

    /// Starts anew, with empty queues.
    pub(super) fn activate(&mut self, features: u64) {
        self.device.reset();
        self.memory.write_slice(&[0; 0x8000], GuestAddress(RX_QUEUE)).unwrap();
        self.rx = DriverQueue::new(self.memory, RX_QUEUE, SIZE);
        self.tx = DriverQueue::new(self.memory, TX_QUEUE, SIZE);
        (self.next, self.given) = (RX, Vec::new());
        let queues = [Some(&self.rx), Some(&self.tx)];
        let activation = activation(&self.device, self.memory, features, &queues, &self.interrupt);
        self.device.activate(activation).unwrap();
        self.settle();
    }

    /// What whoever carries the device does when something happens to its descriptors.
    pub(super) fn settle(&mut self) {
        self.device.host_ready(0).unwrap();
        self.device.host_ready(1).unwrap();
    }

    pub(super) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(super) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Sends a frame, in one chain of one piece.
    pub(super) fn send(&mut self, frame: &[u8]) -> u16 {
        self.put(TX, &[0; HEADER_LEN]);
        self.put(TX + HEADER_LEN as u64, frame);
        let head = self.tx.offer(&[Buffer::Readable(TX, (HEADER_LEN + frame.len()) as u32)]);
        self.device.queue_kicked(QUEUE_TX).unwrap();
        head
    }

    /// Offers buffers to receive, each of `len` bytes in pieces of a third, without a kick.
    pub(super) fn offer(&mut self, count: usize, len: u32) {
        for _ in 0..count {
            let (third, at) = (len / 3, self.next);
            let pieces = [(0, third), (third, third), (2 * third, len - 2 * third)];
            let pieces = pieces.map(|(from, len)| Buffer::Writable(at + u64::from(from), len));
            let used: Vec<_> =
                pieces.into_iter().filter(|p| !matches!(p, Buffer::Writable(_, 0))).collect();
            let head = self.rx.offer(&used);
            self.given.push((head, at));
            self.next += u64::from(len);
        }
    }

    /// Offers buffers to receive of one piece, without a kick.
    pub(super) fn offer_single(&mut self, count: usize, len: u32) {
        for _ in 0..count {
            let head = self.rx.offer(&[Buffer::Writable(self.next, len)]);
            self.given.push((head, self.next));
            self.next += u64::from(len);
        }
    }

    pub(super) fn kick_rx(&mut self) {
        self.device.queue_kicked(QUEUE_RX).unwrap();
    }

    /// The next frame that the device gave, and in how many buffers it was.
    pub(super) fn take(&mut self) -> Option<(Vec<u8>, u16)> {
        let mut bytes = self.take_buffer()?;
        assert_eq!(bytes[..10], [0; 10], "no flags and no segments");
        let count = u16::from_le_bytes([bytes[10], bytes[11]]);
        for _ in 1..count {
            bytes.extend(self.take_buffer().expect("all buffers of a frame come at once"));
        }
        Some((bytes.split_off(HEADER_LEN), count))
    }

    fn take_buffer(&mut self) -> Option<Vec<u8>> {
        let (head, len) = self.rx.take_used()?;
        let (given, at) = self.given.remove(0);
        assert_eq!(head, given);
        Some(self.get(at, len as usize))
    }

    /// That frames still go both ways.
    pub(super) fn still_works(&mut self, host: &mut UnixStream) {
        let (to, from) = (frame(60, 0x55), frame(60, 0x77));
        while self.tx.take_used().is_some() {}
        let head = self.send(&from);
        assert_eq!(receive(host), from);
        assert_eq!(self.tx.take_used(), Some((head, 0)));
        send(host, &to);
        self.offer(1, 1600);
        self.kick_rx();
        self.settle();
        assert_eq!(self.take(), Some((to, 1)));
    }
}

/// A frame of the host.
pub(super) fn send(host: &mut UnixStream, frame: &[u8]) {
    host.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    host.write_all(frame).unwrap();
}

/// The next frame that comes to the host.
pub(super) fn receive(host: &mut UnixStream) -> Vec<u8> {
    let mut prefix = [0; 4];
    host.read_exact(&mut prefix).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    host.read_exact(&mut frame).unwrap();
    frame
}
