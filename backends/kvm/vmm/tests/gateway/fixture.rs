//! A gateway that runs, with this test in the place of a guest's network device.

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use microagent_vmm_protocol::{Fencing, GATEWAY_FD, GatewayReport, GatewaySpec, LIFE_FD, VERSION};

pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 2);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The path of passt; `None`, with a visible reason, where there is none.
pub(crate) fn passt() -> Option<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&places).map(|dir| dir.join("passt")).find(|p| p.is_file());
    if found.is_none() {
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "passt" || name == "all"), "no passt");
        eprintln!("SKIP: passt: it is not in PATH");
    }
    found
}

/// A socket of this host that a guest may send to; `None`, with a visible reason, where the host
/// has no address but the loopback's.
pub(crate) fn server() -> Option<(UdpSocket, SocketAddrV4)> {
    let way = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Sends nothing: it shows the address that would be sent from.
    let own = way.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| way.local_addr());
    let Some(std::net::SocketAddr::V4(own)) = own.ok() else {
        let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "network" || name == "all"), "no address");
        eprintln!("SKIP: network: this host has no address but that of the loopback");
        return None;
    };
    let server = UdpSocket::bind((*own.ip(), 0)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = server.local_addr().unwrap().port();
    Some((server, SocketAddrV4::new(*own.ip(), port)))
}

/// A gateway that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    device: UnixStream,
    life: Option<PipeWriter>,
    pub(crate) report: GatewayReport,
}

impl Running {
    /// Starts one whose passt is told this too.
    pub(crate) fn start(program: PathBuf, more: &[&str]) -> Self {
        let (device, end) = UnixStream::pair().unwrap();
        let (read, life) = pipe().unwrap();
        let fds = vec![
            FdMapping { parent_fd: end.into(), child_fd: GATEWAY_FD },
            FdMapping { parent_fd: read.into(), child_fd: LIFE_FD },
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent-vmm"));
        command.arg("gateway").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        let mut child = command.fd_mappings(fds).unwrap().spawn().unwrap();
        drop(command);
        let args = "--foreground --quiet --ipv4-only --no-dhcp --interface lo --dns none \
                    --mac-addr 02:00:00:00:00:01 --address 10.255.255.2 --netmask 30 \
                    --gateway 10.255.255.1";
        let args = args.split_whitespace().chain(more.iter().copied());
        let fencing = Fencing { address: GUEST, gateway: GATEWAY, udp: vec![], resolver: false };
        let args = args.map(str::to_owned).collect();
        let spec = GatewaySpec { version: VERSION, program, args, attached: true, fencing };
        serde_json::to_writer(child.stdin.take().unwrap(), &spec).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let report = serde_json::from_str(&line).unwrap();
        device.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { child, device, life: Some(life), report }
    }

    /// Sends a SYN of TCP to this address.
    pub(crate) fn knock(&mut self, to: Ipv4Addr, port: u16) {
        let mut tcp = [0; 20];
        tcp[..2].copy_from_slice(&40000u16.to_be_bytes());
        tcp[2..4].copy_from_slice(&port.to_be_bytes());
        (tcp[12], tcp[13], tcp[14]) = (5 << 4, 0x02, 0xff);
        let mut ip = [0; 20];
        (ip[0], ip[3], ip[8], ip[9]) = (0x45, 40, 64, 6);
        ip[12..16].copy_from_slice(&GUEST.octets());
        ip[16..].copy_from_slice(&to.octets());
        let frame = [&[2, 0, 0, 0, 0, 1], &MAC[..], &[8, 0], &ip, &tcp].concat();
        self.send(&frame);
    }

    /// Sends a datagram to this address.
    pub(crate) fn tell(&mut self, to: SocketAddrV4, text: &[u8]) {
        let len = (8 + text.len()) as u16;
        let mut udp = [0; 8];
        udp[..2].copy_from_slice(&40000u16.to_be_bytes());
        udp[2..4].copy_from_slice(&to.port().to_be_bytes());
        udp[4..6].copy_from_slice(&len.to_be_bytes());
        let mut ip = [0; 20];
        (ip[0], ip[8], ip[9]) = (0x45, 64, 17);
        ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
        ip[12..16].copy_from_slice(&GUEST.octets());
        ip[16..].copy_from_slice(&to.ip().octets());
        self.send(&[&[2, 0, 0, 0, 0, 1], &MAC[..], &[8, 0], &ip, &udp, text].concat());
    }

    /// Asks who has this address.
    pub(crate) fn ask(&mut self, address: Ipv4Addr) {
        let arp = [0, 1, 8, 0, 6, 4, 0, 1];
        let (own, asked) = (GUEST.octets(), address.octets());
        let parts: [&[u8]; 8] = [&[0xff; 6], &MAC, &[8, 6], &arp, &MAC, &own, &[0; 6], &asked];
        self.send(&parts.concat());
    }

    fn send(&mut self, frame: &[u8]) {
        let framed = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        self.device.write_all(&framed).unwrap();
    }

    /// The next frame for the guest.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.device.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.device.read_exact(&mut frame).unwrap();
        frame
    }

    /// passt's process id.
    pub(crate) fn passt(&self) -> u32 {
        match self.report {
            GatewayReport::Ready { pid } => pid,
            GatewayReport::Failed { .. } => panic!("{:?}", self.report),
        }
    }

    /// How it ends when the machine's owner is gone.
    pub(crate) fn end_of_life(mut self) -> ExitStatus {
        drop(self.life.take());
        self.child.wait().unwrap()
    }

    /// How it ends when the guest's device is gone.
    pub(crate) fn end_of_device(mut self) -> ExitStatus {
        self.device = UnixStream::pair().unwrap().0;
        self.child.wait().unwrap()
    }

    /// How it ends by itself.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Whether a process is there, and not just waiting to be collected.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
