//! A workspace's shared console, as one who sees it.

use microagent_guest_protocol::TtySize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::client::{ask, exchange};
use super::protocol::{Ask, ProtocolError};
use super::registered::Registered;
use crate::interrupt::Interrupt;
use crate::{Interrupts, Name, RunError, StateDir};

/// How much is read at once, in bytes.
const PIECE: usize = 16 << 10;

/// The size of a terminal that nobody sees.
const UNSEEN: TtySize = TtySize { rows: 24, cols: 80 };

/// How somebody who saw the console left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The console goes on.
    Detached,
    /// Its shell, or the machine, ended.
    Ended,
}

/// Who sees the console and types into it.
pub struct Seat<'a> {
    /// What is typed; its end is that the seat is left.
    pub input: Box<dyn AsyncRead + Send + Unpin + 'a>,
    /// Shows what the console shows.
    pub output: Box<dyn AsyncWrite + Send + Unpin + 'a>,
    /// The size of the terminal, as it changes.
    pub terminal: Option<watch::Receiver<TtySize>>,
}

/// Types a line into the console, as somebody would who sees it.
///
/// # Errors
/// As [`connect`].
pub async fn send_line(state: &StateDir, name: &Name, line: &str) -> Result<(), RunError> {
    let workspace = Registered::find(state, name)?;
    let (mut stream, _) = join(&workspace, UNSEEN).await?;
    let failed = |e| lost(name, e);
    stream.write_all(format!("{line}\n").as_bytes()).await.map_err(failed)?;
    stream.shutdown().await.map_err(failed)?;
    // Its end is that the line was taken.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(drop).map_err(failed)
}

/// Sees the console, first what it showed before, until the seat is left or the console ends.
///
/// # Errors
/// `NoWorkspace`, `WrongMoment` for a workspace that is at rest; what talking to its shim meets.
pub async fn connect(
    state: &StateDir,
    name: &Name,
    mut seat: Seat<'_>,
    interrupts: &mut Interrupts,
) -> Result<Left, RunError> {
    let workspace = Registered::find(state, name)?;
    let size = seat.terminal.as_mut().map(|size| *size.borrow_and_update());
    let (stream, mut history) = join(&workspace, size.unwrap_or(UNSEEN)).await?;
    let failed = |e| lost(name, e);
    let (mut source, mut sink) = stream.into_split();
    let (mut shown, mut typed) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        tokio::select! {
            read = source.read(&mut shown) => {
                let read = read.map_err(failed)?;
                if read == 0 {
                    return Ok(Left::Ended);
                }
                seat.output.write_all(shown.get(..read).unwrap_or_default()).await.map_err(failed)?;
                seat.output.flush().await.map_err(failed)?;
                history = history.saturating_sub(read as u64);
            }
            // Whoever leaves at once has still seen what was there.
            read = seat.input.read(&mut typed), if history == 0 => {
                let read = read.unwrap_or(0);
                if read == 0 {
                    return Ok(Left::Detached);
                }
                sink.write_all(typed.get(..read).unwrap_or_default()).await.map_err(failed)?;
            }
            size = crate::attend::changed(&mut seat.terminal) => {
                let TtySize { rows, cols } = size;
                ask::<Value>(&workspace, Ask::Resize { rows, cols }).await?;
            }
            interrupt = interrupts.next() => match interrupt {
                Interrupt::Signal(_) | Interrupt::Timeout => return Ok(Left::Detached),
            },
        }
    }
}

async fn join(workspace: &Registered, size: TtySize) -> Result<(UnixStream, u64), RunError> {
    let standing = workspace.standing()?;
    if standing.state.is_resting() {
        let (name, state) = (workspace.name(), standing.state);
        let message = format!("workspace {name} is {state}, it has no console");
        return Err(RunError::WrongMoment { message, hint: format!("microagent start {name}") });
    }
    let TtySize { rows, cols } = size;
    let exchanged = exchange(workspace, Ask::Connect { rows, cols }).await;
    let name = workspace.name().to_string();
    let (stream, answer) =
        exchanged.map_err(|source| RunError::Shim { workspace: name, source })?;
    Ok((stream, answer.map_err(RunError::from)?.as_u64().unwrap_or(0)))
}

fn lost(name: &Name, error: std::io::Error) -> RunError {
    RunError::Shim { workspace: name.to_string(), source: ProtocolError::Io(error) }
}
