//! The session's connection: frames in, frames out, never blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use microagent_guest_protocol::frame::{FrameError, HEADER_LEN, Header, Kind};
use microagent_guest_protocol::{AgentMessage, HostMessage, MessageError, Stream};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

/// How much is read at once. A page more would be a page more to fault in.
const READ: usize = 16 << 10;
/// Above this many bytes to be sent, no more output of commands is taken up.
const FULL: usize = 128 << 10;

/// A connected, non-blocking stream socket and what is under way on it.
#[derive(Debug)]
pub(crate) struct Link {
    /// None while there is no host: what is sent then goes nowhere.
    socket: Option<OwnedFd>,
    /// Received and not yet taken from `taken` on. At most one frame and one [`READ`].
    inbox: Vec<u8>,
    taken: usize,
    /// To be sent from `sent` on.
    outbox: Vec<u8>,
    sent: usize,
}

/// One frame from the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A control message.
    Message(HostMessage),
    /// Standard input of a command; without bytes, its end.
    Stdin {
        /// Which command.
        id: u32,
        /// What came.
        bytes: Vec<u8>,
    },
}

/// Whether a source has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many bytes were taken from it.
    Moved(usize),
    /// Nothing now.
    Idle,
    /// Nothing ever again.
    Ended,
}

/// Why the session is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the host closed it")]
    Closed,
    #[error("{0}")]
    Io(#[from] Errno),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(MessageError),
    #[error("the host sent data of an output")]
    WrongWay,
    #[error("the host {0}")]
    Broken(&'static str),
}

impl Link {
    /// The socket must be connected and non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket: Some(socket), ..Self::nowhere() }
    }

    /// A link to no host.
    pub(crate) fn nowhere() -> Self {
        Self { socket: None, inbox: Vec::new(), taken: 0, outbox: Vec::new(), sent: 0 }
    }

    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether [`Link::flush`] has something to do.
    pub(crate) fn has_outgoing(&self) -> bool {
        self.sent < self.outbox.len()
    }

    /// Whether output should wait until the host has taken what there is.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox.len() - self.sent >= FULL
    }

    /// Reads what has come, at most [`READ`] bytes.
    pub(crate) fn fill(&mut self) -> Result<(), LinkError> {
        let Some(socket) = &self.socket else { return Ok(()) };
        self.inbox.drain(..self.taken);
        self.taken = 0;
        self.inbox.reserve(READ);
        match rustix::io::read(socket, spare_capacity(&mut self.inbox)) {
            Ok(0) => Err(LinkError::Closed),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole frame of what was read.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, LinkError> {
        let received = self.inbox.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = received.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(header)?;
        let Some(payload) = rest.get(..header.len) else { return Ok(None) };
        let incoming = match header.kind {
            Kind::Control => {
                Incoming::Message(HostMessage::parse(payload).map_err(LinkError::Message)?)
            }
            Kind::Data { stream: Stream::Stdin, id } => {
                Incoming::Stdin { id, bytes: payload.to_owned() }
            }
            Kind::Data { .. } => return Err(LinkError::WrongWay),
        };
        self.taken += HEADER_LEN + header.len;
        Ok(Some(incoming))
    }

    /// Throws away the whole frames of what was read.
    pub(crate) fn skip(&mut self) -> Result<(), LinkError> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: &AgentMessage) -> Result<(), LinkError> {
        if self.socket.is_none() {
            return Ok(());
        }
        self.outbox.extend_from_slice(&message.to_frame().map_err(LinkError::Message)?);
        Ok(())
    }

    /// Queues the end of a stream.
    pub(crate) fn send_end(&mut self, id: u32, stream: Stream) {
        let header = Header { kind: Kind::Data { stream, id }, len: 0 };
        self.outbox.extend_from_slice(&header.encode());
    }

    /// Queues bytes of a command's output, at most as many as a data frame holds.
    pub(crate) fn send_bytes(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        let header = Header { kind: Kind::Data { stream, id }, len: bytes.len() };
        self.outbox.extend_from_slice(&header.encode());
        self.outbox.extend_from_slice(bytes);
    }

    /// Reads at most `limit` bytes of a command's output right into a queued frame. `limit`
    /// must be above zero and within the length of a data frame.
    pub(crate) fn send_from(
        &mut self,
        source: BorrowedFd<'_>,
        id: u32,
        stream: Stream,
        limit: usize,
    ) -> Progress {
        let start = self.outbox.len();
        let data = start + HEADER_LEN;
        let kind = Kind::Data { stream, id };
        self.outbox.reserve(HEADER_LEN + limit);
        self.outbox.extend_from_slice(&Header { kind, len: 0 }.encode());
        // Read into zeros and not into spare capacity, which may be more than the limit.
        self.outbox.resize(data + limit, 0);
        let read = rustix::io::read(source, self.outbox.get_mut(data..).unwrap_or_default());
        let (len, progress) = match read {
            Ok(len @ 1..) => (len, Progress::Moved(len)),
            Err(Errno::AGAIN | Errno::INTR) => (0, Progress::Idle),
            // EIO is how the last close of a terminal is seen from its other side.
            Ok(_) | Err(_) => (0, Progress::Ended),
        };
        self.outbox.truncate(if len == 0 { start } else { data + len });
        if let Some(header) = self.outbox.get_mut(start..data) {
            header.copy_from_slice(&Header { kind, len }.encode());
        }
        progress
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(socket) = &self.socket
            && let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty())
        {
            match rustix::net::send(socket, rest, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox.drain(..self.sent);
        self.sent = 0;
        Ok(())
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        io::Error::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use microagent_guest_protocol::frame::{MAX_CONTROL, MAX_DATA};

    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::new(ours.into()), theirs)
    }

    fn check(bytes: &[u8], expect: &str) {
        let (mut link, mut host) = pair();
        host.write_all(bytes).unwrap();
        link.fill().unwrap();
        let next = link.next();
        let text = match &next {
            Ok(incoming) => format!("{incoming:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.starts_with(expect), "{text}");
    }

    fn header(kind: Kind, len: usize) -> Vec<u8> {
        Header { kind, len }.encode().to_vec()
    }

    #[test]
    fn frames_are_taken_whole_or_refused() {
        let welcome = HostMessage::Welcome.to_frame().unwrap();
        let stdin = Kind::Data { stream: Stream::Stdin, id: 3 };
        check(&welcome, "Some(Message(Welcome))");
        check(&welcome[..HEADER_LEN - 1], "None");
        check(&welcome[..welcome.len() - 1], "None");
        check(&header(stdin, 0), "Some(Stdin { id: 3, bytes: [] })");
        check(&header(Kind::Data { stream: Stream::Stdout, id: 3 }, 0), "the host sent data of");
        check(&header(stdin, MAX_DATA + 1), "frame of 65537 bytes");
        check(&header(Kind::Control, MAX_CONTROL + 1), "frame of 1048577 bytes");
        check(&[&header(Kind::Control, 2)[..], b"{}"].concat(), "not a message");
    }

    #[test]
    fn a_frame_may_come_in_pieces() {
        let (mut link, mut host) = pair();
        for byte in HostMessage::Shutdown.to_frame().unwrap() {
            assert_eq!(link.next().unwrap(), None);
            host.write_all(&[byte]).unwrap();
            link.fill().unwrap();
        }
        assert_eq!(link.next().unwrap(), Some(Incoming::Message(HostMessage::Shutdown)));
        drop(host);
        assert!(matches!(link.fill(), Err(LinkError::Closed)));
    }

    #[test]
    fn output_becomes_frames_within_the_limit() {
        let (mut link, mut host) = pair();
        let (source, mut program) = UnixStream::pair().unwrap();
        source.set_nonblocking(true).unwrap();
        let mut send = |limit| link.send_from(source.as_fd(), 5, Stream::Stderr, limit);
        assert_eq!(send(10), Progress::Idle);
        program.write_all(b"output").unwrap();
        assert_eq!(send(4), Progress::Moved(4));
        assert_eq!(send(10), Progress::Moved(2));
        drop(program);
        assert_eq!(send(10), Progress::Ended);
        link.flush().unwrap();
        drop(link);
        let mut sent = Vec::new();
        host.read_to_end(&mut sent).unwrap();
        let kind = Kind::Data { stream: Stream::Stderr, id: 5 };
        assert_eq!(sent, [&header(kind, 4)[..], b"outp", &header(kind, 2), b"ut"].concat());
    }
}
