//! Machines that are made by another process.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use microagent_backend::{Backend, Lifetime, RunDir};
use microagent_machine::MachineSpec;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::{Failure, Result};

/// A command for a process that calls [`make_and_hold`] with the request.
pub type Maker = Arc<dyn Fn(&MakeRequest) -> std::process::Command + Send + Sync>;

/// What another process is to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeRequest {
    /// The machine.
    pub spec: MachineSpec,
    /// Its run directory, which exists.
    pub dir: PathBuf,
    /// `Some` for an attached machine: what goes with it.
    pub attached: Option<Vec<PathBuf>>,
}

/// What the other process writes, on a line of its own, once its machine runs.
const MADE: &str = "made";

/// Makes and starts a machine, says so on standard output, and then holds it for ever.
///
/// # Errors
/// What making it meets.
pub async fn make_and_hold(
    backend: &dyn Backend,
    request: &MakeRequest,
) -> microagent_backend::Result<()> {
    let (life, lifetime) = lifetime(request)?;
    let dir = RunDir::at(&request.dir);
    let machine = backend.create(&request.spec, &dir, lifetime).await?;
    machine.start().await?;
    println!("{MADE}");
    std::future::pending::<()>().await;
    drop(life);
    Ok(())
}

fn lifetime(request: &MakeRequest) -> microagent_backend::Result<(Option<PipeWriter>, Lifetime)> {
    let Some(remove) = request.attached.clone() else { return Ok((None, Lifetime::Detached)) };
    let (pipe, life) =
        std::io::pipe().map_err(|e| microagent_backend::Error::io("make a life pipe", e))?;
    Ok((Some(life), Lifetime::Attached { pipe: pipe.into(), remove }))
}

/// Another process that has made a machine.
pub(crate) struct Made {
    process: Child,
}

impl Made {
    /// Starts the other process and waits until its machine runs.
    pub(crate) async fn make(maker: &Maker, request: &MakeRequest) -> Result<Self> {
        let mut process = Command::from(maker(request))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take();
        let mut lines = BufReader::new(stdout.ok_or_else(|| Failure::broken("no pipe"))?).lines();
        while let Some(line) = lines.next_line().await? {
            if line == MADE {
                return Ok(Self { process });
            }
        }
        Err(Failure::broken("the other process made no machine"))
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(mut self) -> Result {
        Ok(self.process.kill().await?)
    }
}
