//! A guest and its host: a device on heap memory, with a run directory.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use tempfile::TempDir;
use virtio_queue::Queue;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::testing::{Buffer, DriverQueue, memory};
use crate::virtio::vsock::protocol::{HOST_CID, TYPE_STREAM, op};
use crate::virtio::vsock::{Config, HEADER_LEN, Header, Queues, Vsock};

pub(super) const CID: u32 = 42;
pub(super) const GUEST_PORT: u32 = 5000;
/// How much the guest says that it can hold.
pub(super) const GUEST_BUFFER: u32 = 64 << 10;
const SIZE: u16 = 128;
const RX_BUFFER: u32 = 4096;
const RX_BUFFERS: u16 = 32;
const RX_BASE: u64 = 0x10_0000;
const TX_BASE: u64 = 0x20_0000;
const TX_SLOT: u64 = 0x2_0000;
const MEMORY: usize = 0xb0_0000;

pub(super) fn guest_memory() -> GuestMemoryMmap {
    memory(MEMORY)
}

/// A guest's driver, the device, and the host's files.
pub(super) struct Guest<'m> {
    memory: &'m GuestMemoryMmap,
    dir: TempDir,
    pub(super) rx: DriverQueue<'m>,
    pub(super) tx: DriverQueue<'m>,
    rx_device: Queue,
    tx_device: Queue,
    pub(super) device: Vsock,
    sent: u64,
    forwarded: u32,
}

impl<'m> Guest<'m> {
    /// A guest that has given the device its receive buffers.
    pub(super) fn new(memory: &'m GuestMemoryMmap) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("vsock");
        let listener = UnixListener::bind(&socket).unwrap();
        let socket = socket.to_str().unwrap().to_owned();
        let device = Vsock::new(Config { guest_cid: CID, socket, listener }).unwrap();
        let rx = DriverQueue::new(memory, 0x1000, SIZE);
        let tx = DriverQueue::new(memory, 0x8000, SIZE);
        let (rx_device, tx_device) = (rx.device_side(), tx.device_side());
        let (sent, forwarded) = (0, 0);
        let mut guest = Self { memory, dir, rx, tx, rx_device, tx_device, device, sent, forwarded };
        guest.offer_buffers();
        guest
    }

    /// What a driver does when it starts anew: empty queues, no connections.
    pub(super) fn restart(&mut self) {
        self.device.reset();
        self.memory.write_slice(&[0; 0xf000], GuestAddress(0x1000)).unwrap();
        self.rx = DriverQueue::new(self.memory, 0x1000, SIZE);
        self.tx = DriverQueue::new(self.memory, 0x8000, SIZE);
        self.rx_device = self.rx.device_side();
        self.tx_device = self.tx.device_side();
        self.forwarded = 0;
        self.offer_buffers();
    }

    fn offer_buffers(&mut self) {
        for n in 0..RX_BUFFERS {
            let address = RX_BASE + u64::from(n) * u64::from(RX_BUFFER);
            let header = HEADER_LEN as u32;
            let data = Buffer::Writable(address + u64::from(header), RX_BUFFER - header);
            self.rx.offer(&[Buffer::Writable(address, header), data]);
        }
    }

    pub(super) fn process(&mut self) {
        let queues = Queues { rx: &mut self.rx_device, tx: &mut self.tx_device };
        self.device.process(self.memory, queues);
    }

    /// A host program that listens for the guest's connections to `port`.
    pub(super) fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.dir.path().join(format!("vsock_{port}"))).unwrap()
    }

    /// A host program that asks for something.
    pub(super) fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("vsock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    pub(super) fn header(&self, host_port: u32, op: u16) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: GUEST_PORT,
            dst_port: host_port,
            kind: TYPE_STREAM,
            op,
            buf_alloc: GUEST_BUFFER,
            fwd_cnt: self.forwarded,
            ..Header::default()
        }
    }

    /// Sends a packet as it is, its data in pieces of at most `piece` bytes.
    pub(super) fn send_raw(&mut self, header: Header, data: &[u8], piece: u32) {
        let address = TX_BASE + self.sent % u64::from(SIZE / 4) * TX_SLOT;
        self.sent += 1;
        self.memory.write_slice(&header.to_bytes(), GuestAddress(address)).unwrap();
        let data_at = address + HEADER_LEN as u64;
        self.memory.write_slice(data, GuestAddress(data_at)).unwrap();
        let mut chain = vec![Buffer::Readable(address, HEADER_LEN as u32)];
        let mut at = 0;
        while at < data.len() as u32 {
            let len = piece.min(data.len() as u32 - at);
            chain.push(Buffer::Readable(data_at + u64::from(at), len));
            at += len;
        }
        let head = self.tx.offer(&chain);
        self.process();
        assert_eq!(self.tx.take_used(), Some((head, 0)), "{header:?}");
    }

    pub(super) fn send(&mut self, host_port: u32, op: u16) {
        let header = self.header(host_port, op);
        self.send_raw(header, &[], 1);
    }

    pub(super) fn send_data(&mut self, host_port: u32, data: &[u8]) {
        let header = Header { len: data.len() as u32, ..self.header(host_port, op::RW) };
        self.send_raw(header, data, u32::MAX);
    }

    pub(super) fn shut_down(&mut self, host_port: u32, flags: u32) {
        let header = Header { flags, ..self.header(host_port, op::SHUTDOWN) };
        self.send_raw(header, &[], 1);
    }

    /// The next packet that the device gave, whose buffer goes back to it.
    pub(super) fn next(&mut self) -> Option<(Header, Vec<u8>)> {
        self.process();
        let (head, len) = self.rx.take_used()?;
        // Two descriptors to each buffer.
        let address = RX_BASE + u64::from(head / 2) * u64::from(RX_BUFFER);
        let mut bytes = [0; HEADER_LEN];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        let header = Header::from_bytes(&bytes);
        assert_eq!(len, HEADER_LEN as u32 + header.len);
        let mut data = vec![0; header.len as usize];
        self.memory.read_slice(&mut data, GuestAddress(address + HEADER_LEN as u64)).unwrap();
        self.rx.publish(head);
        Some((header, data))
    }

    /// What the next packet does. It must be for the connection to `host_port`.
    pub(super) fn next_op(&mut self, host_port: u32) -> Option<u16> {
        let (header, _) = self.next()?;
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID.into()));
        assert_eq!((header.src_port, header.dst_port), (host_port, GUEST_PORT));
        Some(header.op)
    }

    /// All data that comes now; the guest's program takes it at once.
    pub(super) fn receive(&mut self, host_port: u32) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some((header, data)) = self.next() {
            assert_eq!(header.op, op::RW, "{header:?}");
            all.extend(data);
        }
        self.forwarded = self.forwarded.wrapping_add(all.len() as u32);
        self.send(host_port, op::CREDIT_UPDATE);
        all
    }

    /// A connection that the guest opened, and its host end.
    pub(super) fn connect(&mut self, port: u32) -> UnixStream {
        let listener = self.listen(port);
        self.send(port, op::REQUEST);
        assert_eq!(self.next_op(port), Some(op::RESPONSE));
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

/// Exactly `len` bytes.
pub(super) fn read(stream: &mut UnixStream, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    stream.read_exact(&mut data).unwrap();
    data
}

/// The end of the stream, with nothing before it.
pub(super) fn is_at_end(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0; 1]).unwrap() == 0
}
