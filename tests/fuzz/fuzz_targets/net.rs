//! The network device between a hostile driver and a hostile host.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use microagent_devices::testing::Buffer;
use microagent_devices::virtio::device::VirtioDevice;
use microagent_devices::virtio::net::{
    Config, HEADER_LEN, HostEnd, MAX_FRAME, Net, QUEUE_RX, QUEUE_TX,
};
use microagent_fuzz::{Device, Driven, Input, Request, run};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::{Bytes, GuestAddress};

/// The host's side of the device.
struct Peer {
    socket: UnixStream,
    /// Whether each message is a frame.
    is_tap: bool,
}

impl Peer {
    fn send_frame(&mut self, len: usize, fill: u8) {
        let mut bytes = Vec::new();
        if !self.is_tap {
            bytes.extend((len as u32).to_be_bytes());
        }
        bytes.resize(bytes.len() + len.min(MAX_FRAME + 100), fill);
        self.send(&bytes);
    }

    /// What does not fit is lost.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write(bytes);
    }

    /// Takes all that the guest sent.
    fn drain(&mut self) {
        let mut buffer = vec![0; MAX_FRAME];
        while self.socket.read(&mut buffer).is_ok_and(|len| len > 0) {}
    }
}

impl Device for Peer {
    const QUEUES: usize = 2;

    fn make(input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>) {
        let how = input.byte();
        let is_tap = how & 1 == 1;
        let kind = if is_tap { SocketType::SEQPACKET } else { SocketType::STREAM };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).expect("sockets");
        let host = match is_tap {
            true => HostEnd::Tap(theirs),
            false => HostEnd::Stream(theirs.into()),
        };
        let mtu = (how & 2 == 0).then_some(1500);
        let device = Net::new(Config { mac: [2, 0, 0, 0, 0, 1], mtu, host });
        let peer = Self { socket: ours.into(), is_tap };
        (peer, Box::new(device.expect("a socket as host end")))
    }

    fn request(&self, input: &mut Input<'_>) -> Request {
        let (how, len) = (input.byte(), input.number());
        if how & 1 == 0 {
            return Request { queue: QUEUE_RX, readable: Vec::new(), writable: len };
        }
        let mut readable = vec![0; HEADER_LEN + len.min(0x8000) as usize];
        if how & 0x70 == 0x70 {
            readable[usize::from(how >> 1 & 7)] = input.byte();
        }
        Request { queue: QUEUE_TX, readable, writable: 0 }
    }

    fn host(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0..=2 => {
                let (len, fill) = (input.number() as usize, input.byte());
                self.send_frame(len.min(0x2_0000), fill);
            }
            3 => (0..input.byte()).for_each(|fill| self.send_frame(60, fill)),
            4 => {
                let len = usize::from(input.byte());
                self.send(input.take(len));
            }
            5 => self.drain(),
            6 => {
                let mut bytes = vec![0; usize::from(input.byte())];
                let _ = self.socket.read(&mut bytes);
            }
            _ => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                let _ = self.socket.shutdown(how[usize::from(input.byte()) % how.len()]);
            }
        }
    }

    fn works(&mut self, Driven { driver, memory, queues }: &mut Driven<'_, '_>) {
        self.drain();
        driver.transport().host_ready(0);
        memory.write_slice(&[0; HEADER_LEN + 60], GuestAddress(0x8000)).expect("memory");
        let head = queues[QUEUE_TX].offer(&[Buffer::Readable(0x8000, HEADER_LEN as u32 + 60)]);
        driver.kick(QUEUE_TX as u32);
        // Where the host had hung up, the device wants to be called again.
        driver.transport().host_ready(1);
        assert_eq!(queues[QUEUE_TX].take_used(), Some((head, 0)));
        // Whether it arrives is another question: the host may have hung up.
        match self.socket.read(&mut [0; 200]) {
            Ok(0) | Err(_) if driver.read_config::<8>(0)[6] & 1 == 0 => {}
            Ok(len @ 1..) => assert!(len >= 60),
            Ok(_) => {}
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "a frame was lost"),
        }
    }
}

fuzz_target!(|data: &[u8]| run::<Peer>(data));
