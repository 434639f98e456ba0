//! Talking to the shim of a workspace.

use std::time::Duration;

use microagent_guest_protocol::{ExecRequest, TtySize};
use microagent_vsock::{Session, connect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::lifecycle::State;
use super::manifest::Manifest;
use super::protocol::{Ask, ProtocolError, receive_answer, send_ask};
use super::registered::Registered;
use super::standing::{Standing, Told};
use crate::command::{Surroundings, exec_request, with_terminal};
use crate::{Name, RunError, StateDir};

/// How long a shim may take to answer what it need not wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A session with the agent of a workspace, through its shim.
#[derive(Debug)]
pub struct Attached {
    session: Session,
    manifest: Manifest,
}

/// How often a shim that has something to wait for is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Asks the shim of a workspace and waits for its answer, however long that takes a shim that
/// does not hang.
///
/// # Errors
/// `WrongMoment` where it has none; what the shim said no to.
pub(super) async fn ask<T: DeserializeOwned>(
    workspace: &Registered,
    op: Ask,
) -> Result<T, RunError> {
    let failed = |e| RunError::Shim { workspace: workspace.name().to_string(), source: e };
    let (_, answer) = exchange(workspace, op).await.map_err(failed)?;
    let answer = answer.map_err(RunError::from)?;
    serde_json::from_value(answer).map_err(|e| failed(ProtocolError::Malformed(e)))
}

pub(super) async fn exchange(
    workspace: &Registered,
    op: Ask,
) -> Result<(UnixStream, Result<Value, Told>), ProtocolError> {
    let patient = matches!(
        op,
        Ask::Ready | Ask::Rest | Ask::Session | Ask::Connect { .. } | Ask::Halt { .. }
    );
    if !patient {
        return soon(workspace, op).await;
    }
    tokio::select! {
        answered = answered(workspace, op) => answered,
        hangs = hangs(workspace) => Err(hangs),
    }
}

async fn answered(
    workspace: &Registered,
    op: Ask,
) -> Result<(UnixStream, Result<Value, Told>), ProtocolError> {
    let mut stream = match connect(&workspace.socket()).await {
        Err(_) if workspace.is_at_terminal().unwrap_or(false) => {
            return Err(ProtocolError::AtTerminal);
        }
        stream => stream?,
    };
    send_ask(&mut stream, op).await?;
    let answer = receive_answer(&mut stream).await?;
    Ok((stream, answer))
}

async fn soon(
    workspace: &Registered,
    op: Ask,
) -> Result<(UnixStream, Result<Value, Told>), ProtocolError> {
    let answered = tokio::time::timeout(ANSWER_WITHIN, answered(workspace, op)).await;
    answered.map_err(|_| ProtocolError::Hangs { limit: ANSWER_WITHIN })?
}

/// Returns once the shim does not answer what it can at any time. One that is gone is for
/// others to see.
async fn hangs(workspace: &Registered) -> ProtocolError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(hangs @ ProtocolError::Hangs { .. }) = soon(workspace, Ask::Standing).await {
            return hangs;
        }
    }
}

/// Begins a session with the agent of a workspace, once that is ready.
///
/// # Errors
/// `NoWorkspace`; `WrongMoment` where it does not run.
pub async fn attach(state: &StateDir, name: &Name) -> Result<Attached, RunError> {
    let workspace = Registered::find(state, name)?;
    let manifest = workspace.manifest()?;
    let standing = workspace.standing()?;
    if standing.state.is_resting() {
        return Err(not_running(&workspace, standing.state));
    }
    let exchanged = exchange(&workspace, Ask::Session).await;
    let failed = |e| RunError::Shim { workspace: name.to_string(), source: e };
    let (stream, answer) = match exchanged {
        // It may have come to rest just now.
        Err(error) => {
            return match workspace.standing()?.state {
                state if state.is_resting() => Err(not_running(&workspace, state)),
                _ => Err(failed(error)),
            };
        }
        Ok(exchanged) => exchanged,
    };
    answer.map_err(RunError::from)?;
    Ok(Attached { session: Session::with_relay(stream), manifest })
}

fn not_running(workspace: &Registered, state: State) -> RunError {
    let hint = format!("microagent start {}", workspace.name());
    let message = format!("workspace {} is {state}, nothing can be run in it", workspace.name());
    RunError::WrongMoment { message, hint }
}

/// A command that is to be run in a workspace.
#[derive(Debug, Clone, Default)]
pub struct ExecWish {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Over the workspace's environment.
    pub env: Vec<(String, String)>,
    /// Instead of the workspace's user.
    pub user: Option<String>,
    /// Instead of the workspace's working directory.
    pub workdir: Option<String>,
    /// Whether standard input will be sent.
    pub stdin: bool,
    /// The terminal to give it, if any.
    pub tty: Option<TtySize>,
}

impl Attached {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The request for a command, the only one of this session.
    pub fn request(&self, wish: ExecWish) -> ExecRequest {
        let Manifest { defaults, env, user, workdir, shell, .. } = &self.manifest;
        let ExecWish { argv, env: over, user: as_user, workdir: within, stdin, tty } = wish;
        let around = Surroundings {
            env: env.iter().cloned().chain(over).collect(),
            user: as_user.or_else(|| user.clone()),
            workdir: within.or_else(|| workdir.clone()),
            shell: shell.clone(),
        };
        let hostname = self.manifest.guest_hostname();
        with_terminal(exec_request(1, argv, defaults, &around, &hostname, stdin), tty)
    }
}

impl From<Told> for RunError {
    fn from(told: Told) -> Self {
        Self::Told(Box::new(told))
    }
}

/// Waits until a workspace has come to rest, and says how it is then.
pub(super) async fn rest(workspace: &Registered) -> Result<Standing, RunError> {
    ask(workspace, Ask::Rest).await
}
