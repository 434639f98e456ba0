//! `shim`: the process that owns the machine of a started workspace.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use microagent_supervisor::Selection;
use microagent_workspace::named::{self, ShimIo};
use microagent_workspace::{RunError, StateDir};
use rustix::stdio::{dup2_stdin, dup2_stdout};

use crate::args::ShimArgs;
use crate::failure::Failure;
use crate::{signals, tools};

/// Owns a workspace until it has come to rest.
pub(crate) async fn shim(args: ShimArgs) -> Result<u8, Failure> {
    let supervisor = args.supervisor.as_deref().map(Selection::parse).transpose();
    let supervisor = supervisor.map_err(|e| Failure::from(RunError::from(e)))?;
    let state = args.directory.parent().and_then(Path::parent);
    let state = state.ok_or_else(|| Failure::usage("the directory is no workspace's"))?;
    let tools = tools::tools(StateDir::open(state)?)?;
    let failed = |e| Failure::other(&e, "cannot take over from who started the workspace");
    let (lock, ready) = take_streams().map_err(failed)?;
    // Of its own: what ends the terminal it was started from is none of its business.
    rustix::process::setsid().map_err(|e| failed(e.into()))?;
    let signals = signals::forward().map_err(failed)?;
    let io = ShimIo { lock, ready, begun: give_up_turn, signals };
    named::shim(&args.directory, supervisor, &tools, io).await?;
    Ok(0)
}

fn give_up_turn() {
    // It was closed before only if nobody passed it on: whoever calls this by hand.
    let _ = nix::unistd::close(named::TURN_FD);
}

/// What it was given as standard input and output, which lead nowhere from now on.
fn take_streams() -> io::Result<(File, File)> {
    let lock = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let ready = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok((lock, ready))
}
