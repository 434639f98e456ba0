//! Starting a workspace: a shim is started, which does the rest.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use microagent_supervisor::Selection;
use serde_json::Value;
use tokio::net::unix::pipe::Receiver;

use super::client::{ask, rest};
use super::lifecycle::{State, Step};
use super::protocol::{Ask, receive_answer};
use super::recover::recover;
use super::registered::{Registered, Turn};
use super::standing::Standing;
use super::verification::Verification;
use crate::{Name, RunError, Tools};

/// How long a shim may take to answer for the first time: it has only to write two files.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The descriptor by which a shim has the turn that its starter waited for.
pub const TURN_FD: i32 = 3;

/// What a shim says on its own account.
const LOG: &str = "shim.log";

/// A start that is asked for.
#[derive(Debug)]
pub struct StartRequest {
    /// Which workspace.
    pub name: Name,
    /// Another supervisor than the workspace's own, this time.
    pub supervisor: Option<Selection>,
    /// What if image, kernel or agent are not what the workspace was made with.
    pub accept: Accept,
}

/// What if something is not what a workspace was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// It is not started.
    Nothing,
    /// It is written down as what it is now.
    Changes,
}

/// How this program is called to be a shim: the workspace's directory follows.
#[derive(Debug)]
pub struct ShimProgram {
    /// The program.
    pub program: PathBuf,
    /// What comes before the directory.
    pub arguments: Vec<OsString>,
}

/// Starts a workspace, and returns when its shim has it. One that is up already is fine.
///
/// # Errors
/// `NoWorkspace`, `ImageMoved`, `Diverged`, `WrongMoment` for one that is paused; what starting the shim
/// meets.
pub async fn start(
    request: &StartRequest,
    tools: &Tools,
    shim: &ShimProgram,
) -> Result<Standing, RunError> {
    let workspace = Registered::find(&tools.state, &request.name)?;
    let turn = workspace.turn().await?;
    if let Some(process) = workspace.shim()? {
        let standing = workspace.standing()?;
        match standing.state {
            State::Starting | State::Running => return Ok(standing),
            State::Paused => {
                let hint = format!("microagent resume {}", request.name);
                return Err(workspace.wrong_moment(State::Paused, Step::Start, &hint));
            }
            State::Stopping => drop(rest(&workspace).await),
            State::Created | State::Stopped | State::Failed => {}
        }
        workspace.ended(&process).await?;
    }
    if !workspace.is_orphaned()? {
        recover(&workspace, tools).await?;
        verify(&workspace, tools, request.accept)?;
    }
    let lock = workspace.taken().await?.into_lock();
    let child = spawn(&workspace, shim, request.supervisor.as_ref(), (lock, &turn))?;
    answered(&workspace, child).await?;
    workspace.standing()
}

/// Has a shim take up the machine of a workspace that this process has let go of, but for its
/// lock, and waits until commands can be run in it again.
///
/// # Errors
/// What starting the shim meets: the machine then stands for the next start to take up.
pub(super) async fn follow(
    workspace: &Registered,
    lock: File,
    shim: &ShimProgram,
) -> Result<(), RunError> {
    let turn = workspace.turn().await?;
    workspace.record_nobody()?;
    let child = spawn(workspace, shim, None, (lock, &turn))?;
    answered(workspace, child).await?;
    drop(turn);
    ready(workspace).await.map(drop)
}

/// Waits until a workspace is ready for commands.
///
/// # Errors
/// Why it did not become so.
pub async fn wait_ready(tools: &Tools, name: &Name) -> Result<Standing, RunError> {
    ready(&Registered::find(&tools.state, name)?).await
}

async fn ready(workspace: &Registered) -> Result<Standing, RunError> {
    match ask(workspace, Ask::Ready).await {
        // Its shim may have gone with it before it was asked.
        Err(RunError::Shim { workspace: name, source }) => {
            let standing = workspace.standing()?;
            match standing.error {
                Some(told) => Err(told.into()),
                None if standing.state.is_resting() => Ok(standing),
                None => Err(RunError::Shim { workspace: name, source }),
            }
        }
        answer => answer,
    }
}

/// Refuses a workspace that a start would refuse because something is not what it was made with,
/// and changes nothing.
///
/// # Errors
/// `NoWorkspace`, `ImageMoved`, `Diverged`.
pub fn check(tools: &Tools, name: &Name) -> Result<(), RunError> {
    let manifest = Registered::find(&tools.state, name)?.manifest()?;
    let now = Verification::again(tools, &manifest)?;
    manifest.verification.check(&manifest.origin, &now)
}

fn verify(workspace: &Registered, tools: &Tools, accept: Accept) -> Result<(), RunError> {
    let mut manifest = workspace.manifest()?;
    let now = Verification::again(tools, &manifest)?;
    match (manifest.verification.check(&manifest.origin, &now), accept) {
        (Err(RunError::Diverged { .. } | RunError::ImageMoved { .. }), Accept::Changes) => {
            manifest.verification = now;
            manifest.write(workspace.path())
        }
        (checked, _) => checked,
    }
}

/// The shim holds the workspace's lock by its standard input, and tells on its standard output
/// how it began. Until then it has the turn as well: should this process be killed, nobody else
/// finds a workspace that is held by a shim which has not yet said so.
fn spawn(
    workspace: &Registered,
    shim: &ShimProgram,
    supervisor: Option<&Selection>,
    (lock, turn): (File, &Turn),
) -> Result<Child, RunError> {
    let log = workspace.file(LOG);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let log = options
        .open(&log)
        .map_err(|e| RunError::state(format!("cannot write {}", log.display()), e))?;
    let mut command = Command::new(&shim.program);
    command.args(&shim.arguments);
    if let Some(supervisor) = supervisor {
        command.arg("--supervisor").arg(supervisor.to_string());
    }
    command.arg(workspace.path()).stdin(lock).stdout(Stdio::piped()).stderr(log);
    // Not where the caller happens to be, which somebody may want to unmount.
    command.current_dir(workspace.path());
    let failed = |e| RunError::state(format!("cannot start {}", shim.program.display()), e);
    let turn = FdMapping { parent_fd: turn.handed_on().map_err(failed)?, child_fd: TURN_FD };
    command.fd_mappings(vec![turn]).map_err(|e| failed(io::Error::other(e)))?;
    command.spawn().map_err(failed)
}

async fn answered(workspace: &Registered, mut child: Child) -> Result<Value, RunError> {
    let failed = |e| RunError::Shim { workspace: workspace.name().to_string(), source: e };
    let io = |e| RunError::state("cannot hear from the shim".into(), e);
    let pipe = child.stdout.take().map(OwnedFd::from);
    let pipe = pipe.ok_or_else(|| io(std::io::ErrorKind::BrokenPipe.into()))?;
    rustix::io::ioctl_fionbio(&pipe, true).map_err(|e| io(e.into()))?;
    let pipe = Receiver::from_owned_fd(pipe).map_err(io)?;
    match tokio::time::timeout(ANSWER_WITHIN, receive_answer(pipe)).await {
        Ok(Ok(answer)) => Ok(answer?),
        Ok(Err(error)) => {
            let _ = child.wait();
            let log = fs::read_to_string(workspace.file(LOG)).unwrap_or_default();
            match log.lines().last() {
                Some(line) => {
                    Err(RunError::state(line.to_owned(), std::io::ErrorKind::BrokenPipe.into()))
                }
                None => Err(failed(error)),
            }
        }
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(RunError::Timeout { what: "the start of its shim", limit: ANSWER_WITHIN })
        }
    }
}
