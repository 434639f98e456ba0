//! The guest half of the vsock cases: a static program for their initramfs and images.
//!
//! ```text
//! vsock call PORT TEXT      connects to the host, sends the text, ends its half, and says
//!                           `got=` and all that comes back; `refused` if nobody is there,
//!                           `ended` if it did not go on to its end
//! vsock serve PORT          says `serving`, sends one caller's bytes back to it as they come
//!                           and ends with it; then says `served=` and how many they were
//! vsock listen PORT TEXT    as call, but reads to the end first and sends afterwards
//! vsock send PORT LEN       sends so many bytes of the pattern, and says `got=` as above
//! vsock receive PORT        sends `<`, and says `received=` and how many bytes of the pattern came
//! vsock crowd PORT N TEXT   as call, N times at once; says `same=` and how many answers have
//!                           the last line of the first, which it says too
//! vsock hold PORT N         connects N times and sends a byte on each; says `answered=` and
//!                           `ended=`, how many of them got one back and how many an end.
//!                           Then sends on all of them until nothing more is taken, says
//!                           `full`, and waits for the end of its input
//! ```
//! It is built for `x86_64-unknown-linux-musl` by the tests that want it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use microagent_tests_guest::pattern;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, listen, socket,
};

/// `VMADDR_CID_HOST` of Linux's `include/uapi/linux/vm_sockets.h`.
const HOST: u32 = 2;
/// `VMADDR_CID_ANY`, there too.
const ANY: u32 = u32::MAX;
/// How long a connection takes nothing that counts as full.
const FULL: Duration = Duration::from_millis(500);

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["call", port, text] => answered(port, |host| call(host, text)),
        ["listen", port, text] => answered(port, |host| hear(host, text)),
        ["send", port, len] => answered(port, |host| send(host, number(len)?)),
        ["receive", port] => receive(number(port)?),
        ["serve", port] => serve(number(port)?),
        ["crowd", port, count, text] => crowd(number(port)?, number(count)?, text),
        ["hold", port, count] => hold(number(port)?, number(count)?),
        _ => Err(io::Error::other("usage: see the beginning of its source")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("'{text}' is no number")))
}

fn stream() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}

/// Only `shutdown`, `read` and `write` are used of it, which are the same for all families.
fn reach(port: u32) -> nix::Result<UnixStream> {
    let socket = stream()?;
    connect(socket.as_raw_fd(), &VsockAddr::new(HOST, port))?;
    Ok(UnixStream::from(socket))
}

fn answered(port: &str, talk: impl Fn(UnixStream) -> io::Result<String>) -> io::Result<()> {
    match reach(number(port)?) {
        Ok(host) => match talk(host) {
            Ok(answer) => println!("got={answer}"),
            Err(error) => println!("ended ({error})"),
        },
        Err(error) => println!("refused ({error})"),
    }
    Ok(())
}

fn call(mut host: UnixStream, text: &str) -> io::Result<String> {
    host.write_all(text.as_bytes())?;
    host.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    host.read_to_string(&mut answer)?;
    Ok(answer)
}

fn hear(mut host: UnixStream, text: &str) -> io::Result<String> {
    let mut heard = String::new();
    host.read_to_string(&mut heard)?;
    host.write_all(text.as_bytes())?;
    Ok(heard)
}

fn send(mut host: UnixStream, len: u64) -> io::Result<String> {
    pattern::write(&mut host, len)?;
    call(host, "")
}

fn receive(port: u32) -> io::Result<()> {
    let mut host = reach(port)?;
    host.write_all(b"<")?;
    println!("received={}", pattern::check(&mut host)?);
    Ok(())
}

fn serve(port: u32) -> io::Result<()> {
    let socket = stream()?;
    bind(socket.as_raw_fd(), &VsockAddr::new(ANY, port))?;
    listen(&socket, Backlog::new(1)?)?;
    println!("serving");
    let caller = UnixStream::from(rustix::net::accept(&socket)?);
    let served = io::copy(&mut caller.try_clone()?, &mut &caller)?;
    drop(caller);
    println!("served={served}");
    Ok(())
}

fn crowd(port: u32, count: usize, text: &str) -> io::Result<()> {
    // All are connected before the first one talks.
    let connected: nix::Result<Vec<_>> = (0..count).map(|_| reach(port)).collect();
    let answers = thread::scope(|scope| {
        let talking = connected?.into_iter().map(|host| scope.spawn(|| call(host, text)));
        let talking: Vec<_> = talking.collect();
        let joined =
            talking.into_iter().map(|t| t.join().map_err(|_| io::Error::other("panic"))?);
        joined.collect::<io::Result<Vec<_>>>()
    })?;
    // What stands before may tell the time.
    let lasts: Vec<_> = answers.iter().map(|answer| answer.lines().next_back()).collect();
    let first = lasts.first().copied().flatten().unwrap_or_default();
    let same = lasts.iter().filter(|last| **last == Some(first)).count();
    println!("same={same}\n{first}");
    Ok(())
}

fn hold(port: u32, count: usize) -> io::Result<()> {
    let (mut answered, mut ended) = (Vec::new(), 0);
    for _ in 0..count {
        let greeted = reach(port).map_err(io::Error::from).and_then(|mut host| {
            host.write_all(b"x")?;
            host.read_exact(&mut [0; 1])?;
            Ok(host)
        });
        match greeted {
            Ok(host) => answered.push(host),
            Err(_) => ended += 1,
        }
    }
    println!("answered={}\nended={ended}", answered.len());
    thread::scope(|scope| {
        for host in &answered {
            scope.spawn(|| stuff(host));
        }
    });
    println!("full");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Sends until nothing more is taken.
fn stuff(mut host: &UnixStream) -> io::Result<()> {
    host.set_write_timeout(Some(FULL))?;
    let piece = [0; 64 << 10];
    loop {
        match host.write(&piece) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
}
