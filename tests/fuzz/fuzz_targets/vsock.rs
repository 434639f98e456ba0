//! The vsock device between a hostile driver and hostile host programs.
#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fs, process};

use libfuzzer_sys::fuzz_target;
use microagent_devices::testing::{Buffer, DriverQueue};
use microagent_devices::virtio::device::VirtioDevice;
use microagent_devices::virtio::vsock::{
    Config, HEADER_LEN, HOST_CID, Header, QUEUE_RX, QUEUE_TX, VirtioVsock, Vsock,
};
use microagent_fuzz::{Device, Driven, Input, Request, run};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const CID: u32 = 3;
/// Stream sockets, and the operation that refuses (virtio 1.2, 5.10.6).
const STREAM: u16 = 1;
const REQUEST: u16 = 1;
const RESET: u16 = 3;
/// Ports of the host that programs may listen on.
const PORTS: u32 = 4;
/// The first port of the host's own connections.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// How many host programs there are at most.
const MAX_PROGRAMS: usize = 12;

/// The host's programs.
struct Programs {
    listeners: Vec<(u32, UnixListener)>,
    streams: Vec<UnixStream>,
}

/// Where the device's socket is.
fn socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("microagent-fuzz-{}", process::id()));
        fs::create_dir_all(&dir).expect("a folder for sockets");
        dir.join("v")
    })
}

fn socket_of(port: u32) -> PathBuf {
    let mut path = socket().clone().into_os_string();
    path.push(format!("_{port}"));
    path.into()
}

impl Programs {
    fn add(&mut self, stream: UnixStream) {
        if self.streams.len() < MAX_PROGRAMS && stream.set_nonblocking(true).is_ok() {
            self.streams.push(stream);
        }
    }

    fn listen(&mut self, port: u32) {
        if self.listeners.iter().all(|(other, _)| *other != port) {
            let listener = UnixListener::bind(socket_of(port)).expect("a socket's address");
            listener.set_nonblocking(true).expect("a socket");
            self.listeners.push((port, listener));
        }
    }

    fn dial(&mut self, line: &[u8]) {
        // Otherwise the device's backlog could be full, and this wait for ever.
        if self.streams.len() < MAX_PROGRAMS {
            let mut stream = UnixStream::connect(socket()).expect("the device listens");
            let _ = stream.write(line);
            self.add(stream);
        }
    }

    fn accept(&mut self) {
        let accepted = self.listeners.iter().filter_map(|(_, listener)| listener.accept().ok());
        for (stream, _) in accepted.collect::<Vec<_>>() {
            self.add(stream);
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for (port, _) in &self.listeners {
            let _ = fs::remove_file(socket_of(*port));
        }
    }
}

fn header(host_port: u32, guest_port: u32, op: u16) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID,
        src_port: guest_port,
        dst_port: host_port,
        kind: STREAM,
        op,
        buf_alloc: 0x1_0000,
        ..Header::default()
    }
}

impl Device for Programs {
    const QUEUES: usize = 3;

    fn make(_input: &mut Input<'_>) -> (Self, Box<dyn VirtioDevice>) {
        let path = socket();
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket's address");
        let socket = path.to_str().expect("a folder with an ordinary name").to_owned();
        let device = Vsock::new(Config { guest_cid: CID, socket, listener });
        let device = device.and_then(|d| {
            VirtioVsock::new(d).map_err(microagent_devices::virtio::vsock::VsockError::Sockets)
        });
        let programs = Self { listeners: Vec::new(), streams: Vec::new() };
        (programs, Box::new(device.expect("descriptors")))
    }

    fn request(&self, input: &mut Input<'_>) -> Request {
        let how = input.byte();
        if how & 3 == 0 {
            let writable = input.number();
            return Request { queue: QUEUE_RX, readable: Vec::new(), writable };
        }
        let (ports, op) = (input.byte(), u16::from(input.byte() % 9));
        let host_port = match ports & 8 {
            0 => u32::from(ports & 7) % (PORTS + 1),
            _ => FIRST_HOST_PORT + u32::from(ports & 7),
        };
        let mut header = header(host_port, u32::from(ports >> 4), op);
        header.len = if how & 0x0c == 0 { input.number() } else { 0 };
        let data = vec![op as u8; header.len.min(0x7000) as usize];
        header.flags = input.byte().into();
        if how & 0x10 != 0 {
            (header.buf_alloc, header.fwd_cnt) = (input.number(), input.number());
        }
        match how >> 5 {
            5 => header.src_cid = input.number().into(),
            6 => header.dst_cid = input.number().into(),
            7 => header.kind = input.byte().into(),
            _ => {}
        }
        Request { queue: QUEUE_TX, readable: [&header.to_bytes()[..], &data].concat(), writable: 0 }
    }

    fn host(&mut self, input: &mut Input<'_>) {
        let (what, which) = (input.byte(), usize::from(input.byte()));
        let stream = which.checked_rem(self.streams.len());
        match (what % 8, stream) {
            (0, _) => self.listen(which as u32 % PORTS),
            (1, _) => self.dial(format!("CONNECT {}\n", which & 15).as_bytes()),
            (2, _) => self.dial(input.take(which & 31)),
            (3, _) => self.accept(),
            (4, Some(stream)) => {
                let bytes = vec![what; input.number().min(0x2_0000) as usize];
                let _ = self.streams[stream].write(&bytes);
            }
            (5, Some(stream)) => {
                let mut bytes = vec![0; input.number().min(0x2_0000) as usize];
                let _ = self.streams[stream].read(&mut bytes);
            }
            (6, Some(stream)) => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                let _ = self.streams[stream].shutdown(how[usize::from(what >> 3) % how.len()]);
            }
            (7, Some(stream)) => drop(self.streams.swap_remove(stream)),
            _ => {}
        }
    }

    fn works(&mut self, Driven { driver, memory, queues }: &mut Driven<'_, '_>) {
        let [rx, tx, ..] = queues else { panic!("two queues at least") };
        let packet = header(PORTS + 5, 77, REQUEST).to_bytes();
        memory.write_slice(&packet, GuestAddress(0x8000)).expect("memory");
        (0..8).for_each(|n| {
            rx.offer(&[Buffer::Writable(0x9000 + 0x800 * n, 0x800)]);
        });
        let head = tx.offer(&[Buffer::Readable(0x8000, HEADER_LEN as u32)]);
        driver.kick(QUEUE_TX as u32);
        assert_eq!(tx.take_used(), Some((head, 0)));
        assert!(is_refused(memory, rx), "a connection to nobody is not refused");
    }
}

/// Whether what was asked for last is refused in one of the packets that came; others are
/// what host programs want.
fn is_refused(memory: &GuestMemoryMmap, rx: &mut DriverQueue<'_>) -> bool {
    while let Some((head, len)) = rx.take_used() {
        assert!(len as usize >= HEADER_LEN);
        let mut bytes = [0; HEADER_LEN];
        let at = GuestAddress(0x9000 + 0x800 * u64::from(head));
        memory.read_slice(&mut bytes, at).expect("memory");
        let Header { dst_port, op, .. } = Header::from_bytes(&bytes);
        if (dst_port, op) == (77, RESET) {
            return true;
        }
    }
    false
}

fuzz_target!(|data: &[u8]| run::<Programs>(data));
