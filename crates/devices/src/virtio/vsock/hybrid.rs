//! The Unix socket side: where the guest's connections go, and what host programs say.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

/// The longest line that a host program may open with: `CONNECT 4294967295`, a carriage
/// return for those who cannot do without, and the newline.
const MAX_LINE: usize = 20;

/// What a host program asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectRequest {
    /// The line is not complete yet.
    Incomplete,
    /// A connection to this port of the guest.
    Port {
        /// The port.
        port: u32,
        /// How long the line was, its end included, in bytes.
        len: usize,
    },
    /// Anything else.
    Nonsense,
}

/// Reads `CONNECT <port>\n` off the beginning of what a host program sent.
pub fn parse_connect(text: &[u8]) -> ConnectRequest {
    let text = &text[..text.len().min(MAX_LINE)];
    let Some(end) = text.iter().position(|&byte| byte == b'\n') else {
        return match text.len() < MAX_LINE {
            true => ConnectRequest::Incomplete,
            false => ConnectRequest::Nonsense,
        };
    };
    let line = text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]);
    let port = line
        .strip_prefix(b"CONNECT ")
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok());
    match port {
        Some(port) => ConnectRequest::Port { port, len: end + 1 },
        None => ConnectRequest::Nonsense,
    }
}

/// Reads a host program's first line and nothing after it.
pub(crate) fn receive_connect(stream: &UnixStream) -> io::Result<ConnectRequest> {
    let mut text = [0; MAX_LINE];
    let (_, seen) = match rustix::net::recv(stream, &mut text[..], RecvFlags::PEEK) {
        Err(Errno::AGAIN) => return Ok(ConnectRequest::Incomplete),
        other => other?,
    };
    if seen == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let request = parse_connect(&text[..seen]);
    if let ConnectRequest::Port { len, .. } = request {
        rustix::net::recv(stream, &mut text[..len], RecvFlags::empty())?;
    }
    Ok(request)
}

/// Accepts a host program, if one waits.
pub(crate) fn accept(listener: &UnixListener) -> io::Result<Option<UnixStream>> {
    match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Connects to the host program that listens for the guest's connections to `port`.
///
/// Never waits: a listener with a full backlog counts as one that refuses.
pub(crate) fn connect(socket: &str, port: u32) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(format!("{socket}_{port}"))?;
    let fd: OwnedFd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&fd, &address)?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let check =
            |text: &str, expect| assert_eq!(parse_connect(text.as_bytes()), expect, "{text:?}");
        check("", ConnectRequest::Incomplete);
        check("CONNECT 10", ConnectRequest::Incomplete);
        check("CONNECT 1024\n", ConnectRequest::Port { port: 1024, len: 13 });
        check("CONNECT 1024\nmore", ConnectRequest::Port { port: 1024, len: 13 });
        check("CONNECT 4294967295\r\n", ConnectRequest::Port { port: u32::MAX, len: 20 });
        check("CONNECT 4294967296\n", ConnectRequest::Nonsense);
        check("CONNECT +1\n", ConnectRequest::Nonsense);
        check("CONNECT \n", ConnectRequest::Nonsense);
        check("connect 1\n", ConnectRequest::Nonsense);
        check("\n", ConnectRequest::Nonsense);
        check(&"0".repeat(MAX_LINE), ConnectRequest::Nonsense);
        check(&format!("{}\n", "0".repeat(MAX_LINE)), ConnectRequest::Nonsense);
    }

    #[test]
    fn what_follows_the_line_stays() {
        use std::io::{Read, Write};
        let (mut host, mut device) = UnixStream::pair().unwrap();
        device.set_nonblocking(true).unwrap();
        assert_eq!(receive_connect(&device).unwrap(), ConnectRequest::Incomplete);
        host.write_all(b"CONNECT 5\nhello").unwrap();
        let expect = ConnectRequest::Port { port: 5, len: 10 };
        assert_eq!(receive_connect(&device).unwrap(), expect);
        drop(host);
        let mut rest = String::new();
        device.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "hello");
        assert!(receive_connect(&device).is_err());
    }
}
