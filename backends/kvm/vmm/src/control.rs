//! The control socket: requests of any number of drivers, one line each.
//!
//! Whoever reaches the socket may do everything with the machine. What it must not do is take
//! memory without a bound or hold up others, be it by lines without an end or by not reading.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use microagent_vmm_protocol::{
    ControlError, ControlErrorKind, MAX_CONTROL_LINE, Reply, Request, VERSION,
};
use rustix::event::{PollFd, PollFlags};

/// How many drivers may be connected at once; more have to wait.
const MAX_CONNECTIONS: usize = 16;
/// How much is read at once.
const CHUNK: usize = 4 << 10;

/// The socket and who is connected to it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    connections: Vec<Connection>,
}

impl Control {
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: Vec::new() })
    }

    /// Answers requests until `until` is readable.
    pub(crate) fn serve(
        &mut self,
        until: BorrowedFd<'_>,
        mut answer: impl FnMut(Request) -> Reply,
    ) -> io::Result<()> {
        loop {
            let Ready { until, listener, connections } = self.wait(until)?;
            if until {
                return Ok(());
            }
            let mut ready = connections.into_iter();
            self.connections
                .retain_mut(|c| ready.next() != Some(true) || c.serve(&mut answer).is_ok());
            if listener {
                self.accept();
            }
        }
    }

    fn wait(&self, until: BorrowedFd<'_>) -> io::Result<Ready> {
        let listen = match self.connections.len() < MAX_CONNECTIONS {
            true => PollFlags::IN,
            false => PollFlags::empty(),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(until, PollFlags::IN),
            PollFd::new(&self.listener, listen),
        ];
        fds.extend(self.connections.iter().map(|c| PollFd::new(&c.stream, c.interest())));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            until: ready.next() == Some(true),
            listener: ready.next() == Some(true),
            connections: ready.collect(),
        })
    }

    /// A peer that is gone again, or no descriptor to be had, is its own trouble.
    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            let (input, output) = (Vec::new(), Vec::new());
            self.connections.push(Connection { stream, input, output });
        }
    }
}

/// What poll found.
struct Ready {
    until: bool,
    listener: bool,
    connections: Vec<bool>,
}

/// A driver's connection.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// What has come of a line, and of lines after it.
    input: Vec<u8>,
    /// What the driver has not taken yet. While there is any, nothing more is read.
    output: Vec<u8>,
}

/// The connection is over.
struct Over;

impl Connection {
    fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    fn serve(&mut self, answer: &mut impl FnMut(Request) -> Reply) -> Result<(), Over> {
        if self.output.is_empty() {
            self.read()?;
        }
        loop {
            self.write()?;
            if !self.output.is_empty() {
                return Ok(());
            }
            let Some(line) = self.take_line() else { break };
            let reply = parse(&line).map_or_else(Reply::Refused, &mut *answer);
            self.output = line_of(&reply);
        }
        if self.input.len() >= MAX_CONTROL_LINE {
            // Said for what it is worth: the rest of the line is not waited for.
            self.output = line_of(&Reply::Refused(refusal("the line is too long")));
            let _ = self.write();
            return Err(Over);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Over> {
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Over),
            Ok(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(e) if is_passing(&e) => Ok(()),
            Err(_) => Err(Over),
        }
    }

    fn write(&mut self) -> Result<(), Over> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(Over),
                Ok(len) => drop(self.output.drain(..len)),
                Err(e) if is_passing(&e) => return Ok(()),
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    /// The next line, without its newline.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn parse(line: &[u8]) -> Result<Request, ControlError> {
    match serde_json::from_slice(line) {
        Ok(Request::State { version }) if version != VERSION => Err(refusal(&format!(
            "the request has version {version}, this is microagent-vmm for version {VERSION}"
        ))),
        Ok(request) => Ok(request),
        Err(error) => Err(refusal(&format!("no request of this version: {error}"))),
    }
}

fn refusal(message: &str) -> ControlError {
    ControlError { kind: ControlErrorKind::Protocol, message: message.to_owned() }
}

fn line_of(reply: &Reply) -> Vec<u8> {
    // There is nothing in a reply that JSON could not say.
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}
