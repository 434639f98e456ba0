//! `run`: what was written is made into a request, the request is run, and its end is told.

mod disks;
mod network;
mod outputs;
mod request;
mod sinks;
mod streams;
mod tell;

use std::sync::Arc;

use microagent_workspace::{Interrupts, Leave, RunError, RunIo, StateDir, check_disks, dry_run};
use tokio::io::AsyncRead;

use crate::args::{Global, RunArgs};
use crate::detach::UntilLeft;
use crate::failure::Failure;
use crate::progress::Shown;
use crate::terminal::{self, Keys};
use crate::workspace::shim_program;
use crate::{signals, tools};
pub(crate) use outputs::{told_left_out, told_outputs};
pub(crate) use request::{from_args, from_args_on_rootfs, host_cpus, variables};
pub(crate) use sinks::Capture;
pub(crate) use streams::{Asked, Streams, Terminals};
pub(crate) use tell::{failure_of_command, put_streams};

/// Runs `microagent run`.
pub(crate) async fn run(args: RunArgs, global: &Global) -> Result<u8, Failure> {
    let state = StateDir::peek(tools::state_path(global)?)?;
    let config = tools::config(&state)?;
    let request = from_args(&args, &config, global)?;
    let asked = Asked { tty: args.tty, interactive: args.interactive };
    let streams = Streams::new(asked, global, Terminals::here())?;
    if args.dry_run {
        let plan = dry_run(&request, &tools::tools(state)?).await?;
        tell::plan(&plan, global);
        return Ok(0);
    }
    // Before anything is made, as far as it can be seen then.
    if let Some(kernel) = &request.kernel {
        microagent_kernel::inspect(kernel).map_err(|e| Failure::from(RunError::from(e)))?;
    }
    check_disks(&request.disks, &state)?;
    let registry = tools::tools(state)?.registry;
    let checked = registry.check(&request.supervisor).await;
    checked.map_err(|e| Failure::from(RunError::from(e)))?;
    let deadline = args.timeout.as_deref().map(crate::quantity::timeout).transpose()?;
    let taken = |e| Failure::other(&e, "cannot take signals");
    let (hangup, signals) = signals::forward_with().map_err(taken)?;
    let terminal = streams.tty.then(terminal::sizes).transpose().map_err(taken)?;
    if streams.raw {
        terminal::mind_signals(args.keep.then_some(&hangup)).map_err(taken)?;
    }
    let deadline = deadline.map(|limit| tokio::time::Instant::now() + limit);
    let tools = tools::tools(tools::state(global)?)?;
    let captures = global.json.then(|| (Capture::default(), Capture::default()));
    // Who works at a terminal can leave what is kept.
    let leave = (args.keep && streams.raw).then(leave).transpose()?;
    let stdin = |hangup| -> Box<dyn AsyncRead + Send + Unpin> {
        let keys = Keys { source: tokio::io::stdin(), signals: hangup };
        match &leave {
            Some(leave) => Box::new(UntilLeft::new(keys, leave.asked.clone())),
            None if streams.raw => Box::new(keys),
            None => Box::new(tokio::io::stdin()),
        }
    };
    let io = RunIo {
        stdin: streams.stdin.then(|| stdin(hangup)),
        terminal,
        stdout: match &captures {
            Some((stdout, _)) => stdout.sink(),
            None => Box::new(tokio::io::stdout()),
        },
        stderr: match &captures {
            Some((_, stderr)) => stderr.sink(),
            None => Box::new(tokio::io::stderr()),
        },
        interrupts: Interrupts::new(signals, deadline),
        progress: Arc::new(Shown::new(global).interactive(streams.raw)),
        leave,
    };
    let (report, ending) = microagent_workspace::run(&request, &tools, io).await;
    // Before anything is told.
    terminal::give_back();
    Ok(tell::ending(&request, &report, ending, captures, &args, global))
}

fn leave() -> Result<Leave, Failure> {
    Ok(Leave { asked: Arc::default(), shim: shim_program()? })
}
