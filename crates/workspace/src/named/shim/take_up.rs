//! Taking up the machine of a workspace whose shim was killed.

use std::time::Duration;

use microagent_backend::{RunDir, State};
use microagent_guest_protocol::Token;
use microagent_supervisor::Selection;
use serde::{Deserialize, Serialize};

use super::Shim;
use crate::named::durable::{self, Versioned};
use crate::named::registered::Registered;
use crate::run::Flow;
use crate::{RunError, RunIo, Tools};

/// How long an agent that is there may take to say what is left.
const LEFT_WITHIN: Duration = Duration::from_secs(30);

/// How many commands one session may have before their ids reach those of the next.
const IDS: u32 = 1 << 20;

/// `run/agent.json`: by what the agent is known again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::named) struct AgentRecord {
    version: u32,
    token: Token,
    /// The number of its next session, at least.
    pub(super) session: u32,
    /// The workspace's command.
    command: Option<u32>,
    /// Whether that has a terminal.
    #[serde(default)]
    terminal: bool,
}

impl Versioned for AgentRecord {
    const VERSION: u32 = 1;
    const WHAT: &'static str = "record of the workspace's agent";
}

/// What an earlier shim left.
#[derive(Debug)]
pub(super) struct Left {
    /// The workspace's command, where it had one.
    pub(super) command: Option<Resumed>,
    /// The first id that nobody has used.
    pub(super) first: u32,
}

/// A command of an earlier session.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Its id, if it is there to be resumed.
    pub(super) id: Option<u32>,
    /// Whether it has a terminal.
    pub(super) terminal: bool,
}

impl AgentRecord {
    pub(in crate::named) fn new(token: Token) -> Self {
        Self { version: Self::VERSION, token, session: 1, command: None, terminal: false }
    }

    /// With the command that is about to be asked for, at a terminal or not.
    pub(in crate::named) fn with_command(self, id: u32, terminal: bool) -> Self {
        Self { command: Some(id), terminal, ..self }
    }

    pub(in crate::named) fn read(workspace: &Registered) -> Result<Self, RunError> {
        let gone = || {
            let e = std::io::ErrorKind::NotFound.into();
            RunError::state("there is no record of its agent".into(), e)
        };
        durable::read(&workspace.run().join(FILE))?.ok_or_else(gone)
    }

    pub(in crate::named) fn write(&self, workspace: &Registered) -> Result<(), RunError> {
        durable::write(&workspace.run().join(FILE), self)
    }
}

/// Name of the file.
const FILE: &str = "agent.json";

/// Finds the machine again, and waits for its agent's next session. Commands of those whose
/// connections went with the earlier shim are abandoned.
pub(super) async fn take_up(
    shim: &Shim,
    tools: &Tools,
    flow: &mut Flow<'_>,
    io: &mut RunIo,
) -> Result<Left, RunError> {
    let workspace = &shim.workspace;
    let mut record = AgentRecord::read(workspace)?;
    let supervisor = shim.standing.borrow().supervisor.clone().unwrap_or_default();
    let backend = tools.registry.chosen(&Selection::parse(&supervisor)?).await?;
    let machine = backend.open(&RunDir::at(workspace.machine())).await?;
    if machine.state().await? == State::Paused
        && let Some(pause) = machine.as_pause()
    {
        pause.resume().await?;
    }
    flow.hold_volumes()?;
    flow.look_for_target(io).await?;
    let session = record.session;
    // Before the agent can have had it.
    record.session += 1;
    flow.take_up(machine, record.token.clone(), session)?;
    flow.open_channel(io)?;
    flow.meet(io).await?;
    record.write(workspace)?;
    let Some(agent) = &flow.session else { return Ok(Left { command: None, first: IDS }) };
    let left = agent
        .left(LEFT_WITHIN)
        .await
        .map_err(|e| RunError::Lost { reason: crate::error::chain(&e), console: Vec::new() })?;
    let there = record.command.filter(|id| left.contains(id));
    left.into_iter().filter(|id| Some(*id) != there).for_each(|id| agent.abandon(id));
    let resumed = |_| Resumed { id: there, terminal: record.terminal };
    let command = record.command.map(resumed);
    Ok(Left { command, first: IDS.saturating_mul(session) })
}
