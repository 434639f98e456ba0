//! What a shim is asked and answers: one JSON line each way on its Unix socket.
//!
//! After the answer to [`Ask::Session`] the connection carries the frames of
//! `microagent_guest_protocol`, the shim in the place of the agent.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::standing::Told;

/// Version of asks and answers. A program and a shim of different versions refuse each other.
pub(crate) const PROTOCOL: u32 = 1;

/// Longest line, in bytes: real ones are below 10 KiB.
const MAX_LINE: usize = 64 << 10;

/// What a shim is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Where the workspace is in its life.
    Standing,
    /// The same, once it is no longer starting.
    Ready,
    /// The same, once it has come to rest.
    Rest,
    /// A session with its agent.
    Session,
    /// What it takes of the host.
    Usage,
    /// What its console says, as bytes after the answer.
    Console,
    /// To see its shared console: after the answer, which says how many bytes of what was shown
    /// before come first, bytes go both ways as they are.
    Connect {
        /// Lines of the client's terminal.
        rows: u16,
        /// Columns of it.
        cols: u16,
    },
    /// That the terminal of somebody who sees the console has this size now.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// To end it in order; the same answer as `Rest`.
    Halt {
        /// After how long it is ended anyway, in milliseconds.
        force_after_ms: Option<u64>,
    },
    /// To end it at once; the same answer as `Rest`.
    Kill,
    /// To stop its vCPUs.
    Pause,
    /// To let them go on.
    Resume,
}

/// A line to the shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    protocol: u32,
    op: Ask,
}

/// A line from the shim.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    protocol: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    err: Option<Told>,
}

/// Why an exchange did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other side is of another version.
    #[error("it speaks version {found} of the shim's protocol, this program version {PROTOCOL}")]
    Version {
        /// What the other side speaks.
        found: u64,
    },
    /// What came is nothing of this protocol.
    #[error("what it said is nothing of the shim's protocol")]
    Malformed(#[source] serde_json::Error),
    /// It is there, and says nothing.
    #[error("it did not answer within {limit:?}")]
    Hangs {
        /// How long it was waited for.
        limit: Duration,
    },
    /// A run at a terminal has the workspace, and no shim.
    #[error("it is run at a terminal, and nowhere else until Ctrl-P Ctrl-Q leave it there")]
    AtTerminal,
    /// The connection failed or ended.
    #[error("the connection to the shim failed")]
    Io(#[from] io::Error),
}

/// Sends an ask.
pub(crate) async fn send_ask(sink: impl AsyncWrite + Unpin, op: Ask) -> io::Result<()> {
    send(sink, &Asked { protocol: PROTOCOL, op }).await
}

/// Receives an ask.
pub(crate) async fn receive_ask(source: impl AsyncRead + Unpin) -> Result<Ask, ProtocolError> {
    Ok(receive::<Asked>(source).await?.op)
}

/// Sends an answer.
pub(crate) async fn send_answer(
    sink: impl AsyncWrite + Unpin,
    answer: Result<Value, Told>,
) -> io::Result<()> {
    send(sink, &answered(answer)).await
}

/// Receives an answer.
pub(crate) async fn receive_answer(
    source: impl AsyncRead + Unpin,
) -> Result<Result<Value, Told>, ProtocolError> {
    let Answered { protocol: _, ok, err } = receive(source).await?;
    Ok(match err {
        Some(told) => Err(told),
        None => Ok(ok.unwrap_or_default()),
    })
}

/// An answer as a line, for a pipe that is no asynchronous one.
pub(crate) fn answer_line(answer: Result<Value, Told>) -> io::Result<Vec<u8>> {
    line(&answered(answer))
}

fn answered(answer: Result<Value, Told>) -> Answered {
    let (ok, err) = match answer {
        Ok(value) => (Some(value), None),
        Err(told) => (None, Some(told)),
    };
    Answered { protocol: PROTOCOL, ok, err }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

async fn send(mut sink: impl AsyncWrite + Unpin, value: &impl Serialize) -> io::Result<()> {
    sink.write_all(&line(value)?).await
}

/// Reads no byte beyond the line: what follows it may be frames.
async fn receive<T: DeserializeOwned>(
    mut source: impl AsyncRead + Unpin,
) -> Result<T, ProtocolError> {
    let mut line = Vec::new();
    loop {
        match source.read_u8().await? {
            b'\n' => break,
            byte if line.len() < MAX_LINE => line.push(byte),
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }
    let value: Value = serde_json::from_slice(&line).map_err(ProtocolError::Malformed)?;
    // The version first: another one may have other fields.
    match value.get("protocol").and_then(Value::as_u64) {
        Some(found) if found != u64::from(PROTOCOL) => Err(ProtocolError::Version { found }),
        _ => serde_json::from_value(value).map_err(ProtocolError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(line: &str, expect: &str) {
        let text = match receive_ask(line.as_bytes()).await {
            Ok(ask) => format!("{ask:?}"),
            Err(error) => crate::error::chain(&error),
        };
        assert!(text.contains(expect), "{line}: {text}");
    }

    #[tokio::test]
    async fn asks_of_this_version_are_understood_and_no_others() {
        check("{\"protocol\":1,\"op\":\"standing\"}\nrest", "Standing").await;
        let halt = "{\"protocol\":1,\"op\":{\"halt\":{\"force_after_ms\":5}}}\n";
        check(halt, "Halt { force_after_ms: Some(5) }").await;
        check("{\"protocol\":2,\"op\":\"new\",\"more\":1}\n", "version 2").await;
        check("{\"protocol\":1,\"op\":\"other\"}\n", "nothing of the shim's protocol").await;
        check("{\"protocol\":1,\"op\":\"kill\",\"x\":1}\n", "unknown field").await;
        check("{}\n", "missing field").await;
        check("no json\n", "nothing of").await;
        check("{\"protocol\":1", "connection to the shim failed").await;
        check(&"x".repeat(MAX_LINE + 1), "connection to the shim failed").await;
    }

    #[tokio::test]
    async fn an_answer_is_one_or_the_other() {
        let told = Told { kind: "io".into(), message: "m".into(), hint: None };
        for answer in [Ok(Value::from(1)), Err(told)] {
            let mut bytes = Vec::new();
            send_answer(&mut bytes, answer.clone()).await.unwrap();
            assert_eq!(receive_answer(&bytes[..]).await.unwrap(), answer);
        }
    }
}
