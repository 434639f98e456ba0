//! A channel from a port of the guest's vsock to one TCP target of the host.
//!
//! What the guest opens to the port is a connection of its own to the target. A *required*
//! channel fails closed: the first target that cannot be dialled severs it, for good.
//!
//! ```text
//! Ready ──► (a dial fails) ──► Broken: connections are reset, later ones refused   required
//! Ready ◄─► Absent             each connection is tried anew                       optional
//! ```

mod splice;
mod target;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::socket;
use splice::splice;
pub use target::{InvalidTarget, Target};

/// Connections of one channel at the same time; more are closed as they come.
const MAX_CONNECTIONS: usize = 128;
/// How long the target may take to accept a connection of the guest.
const DIAL: Duration = Duration::from_secs(10);
/// How long nothing is accepted when the system has no descriptor left for it.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What a channel means to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without its target the machine is not what was asked for.
    Required,
    /// The machine is as good without.
    Optional,
}

/// What a channel is made of.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Where it leads.
    pub target: Target,
    /// What it means to the machine.
    pub need: Need,
    /// Whether the target was there when it was last looked for.
    pub reached: bool,
}

/// How a channel is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediationStatus {
    /// Whether the target was there when it was last dialled; false for good once broken.
    pub ready: bool,
    /// Why the channel was severed, if it was.
    pub broken: Option<String>,
    /// Connections that have reached the target until now.
    pub connections: u64,
    /// Bytes that went through until now, both directions together.
    pub bytes: u64,
}

/// A channel that is open. Dropping it closes it and all its connections.
#[derive(Debug)]
pub struct Mediation {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    connections: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ready,
    Absent,
    Broken(String),
}

impl Mediation {
    /// Listens at `path`, which may be longer than a Unix socket address, for connections of
    /// the guest. To be called before the machine starts; the path is removed with the channel.
    ///
    /// # Errors
    /// Those of [`bind`](crate::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path, channel: Channel) -> io::Result<Self> {
        let entrance = Entrance { listener: socket::bind(path)?, path: path.to_owned() };
        let state = if channel.reached { State::Ready } else { State::Absent };
        let shared = Arc::new(Shared {
            state: watch::Sender::new(state),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let task = tokio::spawn(serve(entrance, channel, shared.clone()));
        Ok(Self { shared, task })
    }

    /// How it is now.
    pub fn status(&self) -> MediationStatus {
        let state = self.shared.state.borrow().clone();
        MediationStatus {
            ready: state == State::Ready,
            broken: if let State::Broken(reason) = state { Some(reason) } else { None },
            connections: self.shared.connections.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits until it is severed, and says why; forever if it never is.
    pub fn broken(&self) -> impl Future<Output = String> + Send + use<> {
        let mut state = self.shared.state.subscribe();
        async move {
            let broken = state.wait_for(|state| matches!(state, State::Broken(_))).await;
            match broken.map(|state| state.clone()) {
                Ok(State::Broken(reason)) => reason,
                _ => std::future::pending().await,
            }
        }
    }
}

impl Drop for Mediation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the guest's connections arrive.
#[derive(Debug)]
struct Entrance {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        // Whoever removes the whole directory may have been faster.
        let _ = fs::remove_file(&self.path);
    }
}

/// The target could not be dialled.
struct Unreachable(io::Error);

async fn serve(entrance: Entrance, channel: Channel, shared: Arc<Shared>) {
    let mut connections: JoinSet<Result<(), Unreachable>> = JoinSet::new();
    // Until when nothing is accepted.
    let mut closed = None;
    let reason = loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                if let Ok(Err(Unreachable(error))) = ended
                    && channel.need == Need::Required
                {
                    break error.to_string();
                }
            }
            () = sleep_until(closed.unwrap_or_else(Instant::now)), if closed.is_some() => {
                closed = None;
            }
            accepted = entrance.listener.accept(), if closed.is_none() => match accepted {
                Ok((guest, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(connect(guest, channel.target.clone(), shared.clone()));
                }
                Ok(_) => tracing::debug!(most = MAX_CONNECTIONS, "closed one connection too many"),
                Err(error) => {
                    let path = entrance.path.display();
                    tracing::warn!(%path, %error, "cannot accept a connection of the guest");
                    closed = Some(Instant::now() + EXHAUSTED);
                }
            }
        }
    };
    // In this order: whoever hears of it finds the channel closed.
    drop(entrance);
    connections.shutdown().await;
    shared.state.send_replace(State::Broken(reason));
}

async fn connect(
    guest: UnixStream,
    target: Target,
    shared: Arc<Shared>,
) -> Result<(), Unreachable> {
    let dialled = target.dial(DIAL).await;
    let state = if dialled.is_ok() { State::Ready } else { State::Absent };
    shared.state.send_if_modified(|known| {
        let news = *known != state;
        *known = state;
        news
    });
    let connection = dialled.map_err(Unreachable)?;
    shared.connections.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = splice(guest, connection, &shared.bytes).await {
        tracing::debug!(%target, %error, "a connection of the guest was reset");
    }
    Ok(())
}
