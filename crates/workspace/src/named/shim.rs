//! The shim: the process that owns the machine of a started workspace.
//!
//! It holds the workspace's lock, its machine and the session with the agent; it writes down
//! every change of state before anybody is told of it, and goes when the workspace has come to
//! rest. Clients are served at a socket: [`serve`]; what they ask of the machine goes to the one
//! task that changes it: [`life`].

mod come_up;
mod console;
mod life;
mod look;
mod output;
mod policy;
mod serve;
mod take_up;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use microagent_backend::RunDir;
use microagent_supervisor::Selection;
use microagent_vsock::{Relay, bind};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::lifecycle::Step;
use super::outcome::Usage;
use super::protocol::answer_line;
use super::registered::Registered;
use super::standing::{Standing, Told};
use crate::directory::WorkspaceDir;
use crate::events::{Event, Events};
use crate::{Name, RunError, Tools};
use console::Console;
use life::Life;
pub(super) use output::{FILE as OUTPUT, OLDER as OUTPUT_OLDER};
pub(super) use take_up::AgentRecord;

/// How long clients may take to read the last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Demands that may wait for their turn.
const BACKLOG: usize = 64;

/// What a shim is given by whoever starts it.
#[derive(Debug)]
pub struct ShimIo {
    /// The workspace's lock, held.
    pub lock: File,
    /// Told how the shim began, in one line.
    pub ready: File,
    /// Gives up the turn, [`TURN_FD`](super::TURN_FD): called when the shim has begun.
    pub begun: fn(),
    /// Signals that end the workspace in order.
    pub signals: mpsc::Receiver<i32>,
}

/// What all tasks of a shim share.
#[derive(Debug)]
struct Shim {
    workspace: Registered,
    events: Events,
    standing: watch::Sender<Standing>,
    relay: watch::Sender<Option<Relay>>,
    console: Arc<Console>,
    demands: mpsc::Sender<Demand>,
}

/// What is asked of the task that changes the machine.
#[derive(Debug)]
enum Demand {
    /// To end it in order.
    Halt {
        /// After how long it is ended anyway.
        force_after: Option<Duration>,
    },
    /// To end it at once.
    Kill,
    /// To stop its vCPUs, or to let them go on.
    Change(Step, oneshot::Sender<Result<(), Told>>),
    /// To look at the machine.
    Look(oneshot::Sender<Seen>),
}

/// What is seen of a machine.
#[derive(Debug)]
struct Seen {
    usage: Usage,
    console: Vec<u8>,
}

/// Owns the workspace in `path` from its start to its rest.
///
/// # Errors
/// Why it did not begin, which `io.ready` was told too; how a workspace fails later stands in
/// its directory.
pub async fn shim(
    path: &Path,
    supervisor: Option<Selection>,
    tools: &Tools,
    io: ShimIo,
) -> Result<(), RunError> {
    let ShimIo { lock, mut ready, begun: give_up_turn, signals } = io;
    let begun = begin(path);
    give_up_turn();
    let told = begun.as_ref().map(|_| serde_json::Value::Null).map_err(Told::of);
    let line = answer_line(told).and_then(|line| ready.write_all(&line));
    drop(ready);
    let (shim, demanded, listener, how) = begun?;
    if let Err(error) = line {
        // Whoever started it was killed; the workspace is to be started all the same.
        tracing::info!(%error, "nobody hears that it began");
    }
    let directory = WorkspaceDir::held(path.to_owned(), lock);
    let mut clients = JoinSet::new();
    let life = Life::new(&shim, tools, demanded, how);
    tokio::select! {
        () = life.lead(directory, supervisor) => {}
        () = serve::all(&shim, listener, &mut clients) => {}
        () = obey(&shim, signals) => {}
    }
    // Those who wait for its rest are told of it; what else is under way has lost its machine.
    let drained = async { while clients.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, drained).await;
    let run = shim.workspace.run();
    fs::remove_dir_all(&run)
        .map_err(|e| RunError::state(format!("cannot remove {}", run.display()), e))
}

/// How a shim comes to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It makes one.
    Start,
    /// It takes up that of a shim that was killed.
    TakeUp,
}

/// Writes down that the workspace starts, and listens for clients.
#[allow(clippy::type_complexity, reason = "four parts of one beginning, named where it is called")]
fn begin(path: &Path) -> Result<(Shim, mpsc::Receiver<Demand>, UnixListener, How), RunError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = Name::new(name).map_err(|e| RunError::usage(e.to_string()))?;
    let workspace = Registered::at(path.to_owned(), name);
    let standing = Standing::read(path)?;
    let how = if workspace.is_orphaned()? { How::TakeUp } else { How::Start };
    let step = match how {
        How::Start => Step::Start,
        How::TakeUp => Step::TakeUp,
    };
    let standing = standing.after(step).map_err(|refused| {
        let (message, hint) = (refused.to_string(), "`microagent start` it".to_owned());
        RunError::WrongMoment { message, hint }
    })?;
    let socket = workspace.socket();
    let failed = |e| RunError::state(format!("cannot listen at {}", socket.display()), e);
    match how {
        How::Start => drop(RunDir::create(workspace.run())?),
        How::TakeUp => fs::remove_file(&socket).or_else(absent).map_err(failed)?,
    }
    workspace.record_shim()?;
    let listener = bind(&socket).map_err(failed)?;
    standing.write(path)?;
    let events = Events::at(path);
    events.add(&Event::State { state: standing.state, error: None });
    let (demands, demanded) = mpsc::channel(BACKLOG);
    let (standing, relay) = (watch::Sender::new(standing), watch::Sender::new(None));
    let console = Arc::new(Console::new(path.to_owned()));
    Ok((Shim { workspace, events, standing, relay, console, demands }, demanded, listener, how))
}

/// That there is nothing is fine.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Ends the workspace in order when the system or a service manager asks for it. Never returns.
async fn obey(shim: &Shim, mut signals: mpsc::Receiver<i32>) {
    while let Some(signal) = signals.recv().await {
        tracing::info!(signal, "asked to end");
        let _ = shim.demands.send(Demand::Halt { force_after: None }).await;
    }
    std::future::pending().await
}

impl Shim {
    /// Takes a step: written down first, then told.
    fn step(&self, change: impl FnOnce(&mut Standing), step: Step) -> Result<(), RunError> {
        let now = self.standing.borrow().clone();
        let mut next = now.after(step).map_err(|refused| RunError::WrongMoment {
            message: refused.to_string(),
            hint: "wait for it".into(),
        })?;
        change(&mut next);
        next.write(self.workspace.path())?;
        let error = next.error.as_ref().map(|told| told.message.clone());
        self.events.add(&Event::State { state: next.state, error });
        self.standing.send_replace(next);
        Ok(())
    }
}

impl Shim {
    /// Tells those who wait that it failed, where that cannot be written down: the next command
    /// finds a shim that is gone.
    fn tell_unwritten(&self, error: &RunError) {
        let now = self.standing.borrow().clone();
        if let Ok(next) = now.failed(Told::of(error)) {
            self.standing.send_replace(next);
        }
    }
}

/// What cannot be written down is logged.
fn unwritten(error: &RunError) {
    tracing::error!(%error, "cannot write down where the workspace is");
}
