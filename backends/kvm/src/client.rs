//! One request to a monitor, and its reply.
//!
//! Each request has a connection of its own: nothing is kept that could break, be in the
//! middle of a line, or be waited for. A connection is taken by the listener's backlog even
//! before the monitor runs, so that nobody has to try again.

use std::time::Duration;

use microagent_backend::{Error, ErrorKind, Result, State};
use microagent_guarded::{SocketDir, one_line};
use microagent_vmm_protocol::{
    MAX_CONTROL_LINE, MonitorState, MonitorStats, Reply, Request, VERSION,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::files;
use crate::refusal::refused;

/// The way to a monitor.
#[derive(Debug)]
pub(crate) struct Client {
    sockets: SocketDir,
    within: Duration,
}

/// What a monitor says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where its machine is in its life.
    pub(crate) state: State,
    /// Whether it runs under a Landlock ruleset of its own that was seen to deny.
    pub(crate) landlock: bool,
}

impl Client {
    /// A way to the monitor of this run directory, whose replies may take `within`.
    pub(crate) fn new(sockets: SocketDir, within: Duration) -> Self {
        Self { sockets, within }
    }

    /// Asks for the state; the first answer comes when the machine is built.
    pub(crate) async fn state(&self) -> Result<Standing> {
        standing(self.ask(&Request::State { version: VERSION }, "tell its state").await?)
    }

    /// Lets the vCPUs of a created machine run.
    pub(crate) async fn start(&self) -> Result<()> {
        self.change(&Request::Start, "start", State::Running).await
    }

    /// Holds the vCPUs of a running machine.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.change(&Request::Pause, "pause", State::Paused).await
    }

    /// Lets the vCPUs of a paused machine go on.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.change(&Request::Resume, "resume", State::Running).await
    }

    /// Asks for counters.
    pub(crate) async fn stats(&self) -> Result<MonitorStats> {
        match self.ask(&Request::Stats, "count").await? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(nonsense(&format!("{other:?}"))),
        }
    }

    async fn change(&self, request: &Request, what: &str, expect: State) -> Result<()> {
        let got = standing(self.ask(request, what).await?)?.state;
        match got == expect {
            true => Ok(()),
            false => Err(nonsense(&format!("{got:?} after a request to {what}"))),
        }
    }

    /// Sends a request and reads what it is answered, unless that is a refusal to do `what`.
    async fn ask(&self, request: &Request, what: &str) -> Result<Reply> {
        let asked = async {
            let stream = self.sockets.connect(files::CONTROL).await?;
            converse(stream, request).await
        };
        let reply = tokio::time::timeout(self.within, asked).await.unwrap_or_else(|_| {
            let message = format!("the monitor did not {what} within {:?}", self.within);
            Err(Error::new(ErrorKind::Timeout, message))
        })?;
        match reply {
            Reply::Refused(error) => Err(refused(what, &error)),
            reply => Ok(reply),
        }
    }
}

async fn converse(mut stream: UnixStream, request: &Request) -> Result<Reply> {
    let failed = |e| Error::io("talk to the monitor", e);
    let mut line = serde_json::to_vec(request).map_err(|e| failed(e.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    let line = read_line(&mut stream).await?;
    serde_json::from_slice(&line)
        .map_err(|e| nonsense(&String::from_utf8_lossy(&line)).with_source(e))
}

/// A line without its newline. What comes after it belongs to no request, and goes with the
/// connection.
async fn read_line(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut chunk = [0; 4 << 10];
    while line.len() < MAX_CONTROL_LINE {
        let len = stream.read(&mut chunk).await;
        let len = len.map_err(|e| Error::io("read the monitor's reply", e))?;
        if len == 0 {
            let message = "the monitor closed the connection instead of replying";
            return Err(Error::new(ErrorKind::Crashed, message));
        }
        if let Some(end) = chunk[..len].iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&chunk[..end]);
            return Ok(line);
        }
        line.extend_from_slice(&chunk[..len]);
    }
    let message = format!("the monitor's reply is longer than {MAX_CONTROL_LINE} bytes");
    Err(Error::new(ErrorKind::Protocol, message))
}

fn standing(reply: Reply) -> Result<Standing> {
    match reply {
        Reply::State { state, landlock } => Ok(Standing {
            state: match state {
                MonitorState::Created => State::Created,
                MonitorState::Running => State::Running,
                MonitorState::Paused => State::Paused,
            },
            landlock,
        }),
        other => Err(nonsense(&format!("{other:?}"))),
    }
}

/// A reply that is none, of which as much is told as shows what it is.
fn nonsense(text: &str) -> Error {
    let start: String = text.chars().take(80).collect();
    Error::new(ErrorKind::Protocol, format!("the monitor replied {:?}", one_line(&start)))
}

#[cfg(test)]
mod tests;
