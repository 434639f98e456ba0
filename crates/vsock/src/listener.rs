//! Waits for the agent of one machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use microagent_guest_protocol::frame::Kind;
use microagent_guest_protocol::{AgentMessage, HostMessage, Token, VERSION};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::frames::{FrameReader, protocol};
use crate::session::Session;
use crate::{SessionError, socket};

/// Longest hello, in bytes: real ones are below 120.
const MAX_HELLO: usize = 4 << 10;

/// A socket at which the agent of one machine may connect, once. Its path is removed when
/// the agent has connected and when this is dropped.
#[derive(Debug)]
pub struct AgentListener {
    listener: UnixListener,
    path: PathBuf,
    token: Token,
    numbers: Numbers,
}

/// Which numbers the session may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// The first of a boot.
    First,
    /// This one or one after it.
    From(u32),
}

impl AgentListener {
    /// Listens at `path`, which may be longer than a Unix socket address, for the agent that
    /// knows `token`. To be called before the machine starts.
    ///
    /// # Errors
    /// Those of [`bind`](crate::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path, token: Token) -> io::Result<Self> {
        Self::listen(path, token, Numbers::First)
    }

    /// The same for an agent whose session was lost: the next one has at least the number
    /// `session`, so that a guest that was reset is not taken for one that goes on.
    ///
    /// # Errors
    /// Those of [`bind`](crate::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind_again(path: &Path, token: Token, session: u32) -> io::Result<Self> {
        Self::listen(path, token, Numbers::From(session))
    }

    fn listen(path: &Path, token: Token, numbers: Numbers) -> io::Result<Self> {
        Ok(Self { listener: socket::bind(path)?, path: path.to_owned(), token, numbers })
    }

    /// Takes the first connection, which must present the token, and refuses all others: a
    /// guest that boots a second time does not get a second session.
    ///
    /// # Errors
    /// [`SessionError`]: of the connection, or `NoAgent` and `NoHello` if it does not come
    /// within this time.
    pub async fn accept(self, within: Duration) -> Result<Session, SessionError> {
        let deadline = Instant::now() + within;
        let accepted = timeout_at(deadline, self.listener.accept()).await;
        let accepted = accepted.map_err(|_| SessionError::NoAgent(within))?;
        let (stream, _) = accepted.map_err(|error| SessionError::Accept(Arc::new(error)))?;
        let (token, numbers) = (self.token.clone(), self.numbers);
        // From here on a connection is refused by the kernel.
        drop(self);
        let welcomed = timeout_at(deadline, welcome(stream, &token, numbers)).await;
        let stream = welcomed.map_err(|_| SessionError::NoHello(within))??;
        Ok(Session::over(stream))
    }
}

impl Drop for AgentListener {
    fn drop(&mut self) {
        // Whoever removes the whole directory may have been faster.
        let _ = fs::remove_file(&self.path);
    }
}

async fn welcome(
    stream: UnixStream,
    token: &Token,
    numbers: Numbers,
) -> Result<UnixStream, SessionError> {
    let mut reader = FrameReader::new(stream);
    let kind = reader.read_raw(MAX_HELLO).await?;
    let checked = check(kind, reader.payload(), token, numbers);
    let mut stream = reader.into_source();
    let answer = match &checked {
        Ok(()) => HostMessage::Welcome,
        Err(error) => HostMessage::Refused { message: error.to_string() },
    };
    let answer = answer.to_frame().map_err(|error| protocol(&error))?;
    let sent = stream.write_all(&answer).await;
    checked?;
    sent?;
    Ok(stream)
}

fn check(kind: Kind, payload: &[u8], token: &Token, numbers: Numbers) -> Result<(), SessionError> {
    let not_hello = || SessionError::Protocol("its first message is no hello".to_owned());
    if kind != Kind::Control {
        return Err(not_hello());
    }
    // The version first: the hello of another one may have other fields.
    if let Ok(value) = serde_json::from_slice::<Value>(payload)
        && let Some(agent) = value.get("version").and_then(Value::as_u64)
        && agent != u64::from(VERSION)
    {
        return Err(SessionError::Version { agent });
    }
    match AgentMessage::parse(payload) {
        Ok(AgentMessage::Hello { token: presented, session, .. }) => {
            let fits = match numbers {
                Numbers::First => session == 0,
                Numbers::From(first) => session >= first,
            };
            match (presented.matches(token), fits) {
                (true, true) => Ok(()),
                (false, _) => Err(SessionError::WrongToken),
                (true, false) => {
                    let text = match numbers {
                        Numbers::First => format!("its first session has the number {session}"),
                        Numbers::From(first) => {
                            format!(
                                "its session has the number {session}, expected {first} or more"
                            )
                        }
                    };
                    Err(SessionError::Protocol(text))
                }
            }
        }
        Ok(_) => Err(not_hello()),
        Err(error) => Err(protocol(&error)),
    }
}
