use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use super::*;

/// A forwarder to a Unix socket, which stands for the host's vsock.
struct Bench {
    address: std::net::SocketAddr,
    path: PathBuf,
    host: Option<UnixListener>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("forward-{name}-{}", std::process::id()));
        let host = UnixListener::bind(&path).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let to = path.clone();
        // Goes with the process of the tests.
        thread::spawn(move || {
            serve(&listener, || {
                let stream = UnixStream::connect(&to)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            })
        });
        Self { address, path, host: Some(host) }
    }

    fn connected(&self) -> (TcpStream, UnixStream) {
        let client = TcpStream::connect(self.address).unwrap();
        (client, self.host.as_ref().unwrap().accept().unwrap().0)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn all(mut from: impl Read) -> Result<String, io::ErrorKind> {
    let mut text = String::new();
    from.read_to_string(&mut text).map(|_| text).map_err(|error| error.kind())
}

#[test]
fn each_half_ends_by_itself() {
    let bench = Bench::new("halves");
    let (mut client, mut host) = bench.connected();
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&host).unwrap(), "request");
    host.write_all(b"reply").unwrap();
    drop(host);
    assert_eq!(all(&client).unwrap(), "reply");

    let (mut client, mut host) = bench.connected();
    host.write_all(b"greeting").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&client).unwrap(), "greeting");
    client.write_all(b"answer").unwrap();
    drop(client);
    assert_eq!(all(&host).unwrap(), "answer");
}

#[test]
fn bytes_come_in_order_and_a_slow_reader_holds_up_nobody_else() {
    let bench = Bench::new("order");
    let (_stalled, mut unread) = bench.connected();
    unread.set_nonblocking(true).unwrap();
    // Until nothing more fits on the way to a client that does not read.
    while unread.write(&[0; 4096]).is_ok() {}
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (client, host) = bench.connected();
    let echo = thread::spawn(move || io::copy(&mut &host, &mut &host).unwrap());
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            (&client).write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        (&client).read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(echo.join().unwrap(), sent.len() as u64);
    assert!(got == sent);
}

#[test]
fn without_a_host_a_client_is_reset() {
    let mut bench = Bench::new("absent");
    bench.host = None;
    let mut client = TcpStream::connect(bench.address).unwrap();
    let kind = client.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
}

#[test]
fn more_than_the_most_are_reset() {
    let bench = Bench::new("most");
    let mut open: Vec<_> = (0..MAX_CONNECTIONS).map(|_| bench.connected()).collect();
    let mut client = TcpStream::connect(bench.address).unwrap();
    let kind = client.read(&mut [0; 1]).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
    let (client, host) = &mut open[0];
    client.write_all(b"x").unwrap();
    host.read_exact(&mut [0; 1]).unwrap();
}
