//! The guest half of the vsock cases: a static program for their initramfs.
//!
//! ```text
//! vsock call PORT TEXT   connects to the host, sends the text, ends its half, and says
//!                        `got=` and all that comes back; `refused` if nobody is there
//! vsock serve PORT       says `serving`, sends one caller's bytes back to it as they come
//!                        and ends with it; then says `served=` and how many they were
//! ```
//! It is built for `x86_64-unknown-linux-musl` by `tests/conformance`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, listen, socket,
};

/// `VMADDR_CID_HOST` of Linux's `include/uapi/linux/vm_sockets.h`.
const HOST: u32 = 2;
/// `VMADDR_CID_ANY`, there too.
const ANY: u32 = u32::MAX;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let wrong = || io::Error::other("usage: vsock call PORT TEXT | vsock serve PORT");
    match *arguments {
        ["call", port, text] => call(port.parse().map_err(|_| wrong())?, text),
        ["serve", port] => serve(port.parse().map_err(|_| wrong())?),
        _ => Err(wrong()),
    }
}

fn stream() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}

fn call(port: u32, text: &str) -> io::Result<()> {
    let socket = stream()?;
    if let Err(error) = connect(socket.as_raw_fd(), &VsockAddr::new(HOST, port)) {
        println!("refused ({error})");
        return Ok(());
    }
    // Only `shutdown`, `read` and `write` are used, which are the same for all families.
    let mut socket = UnixStream::from(socket);
    socket.write_all(text.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    println!("got={answer}");
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
