//! `exec`.

use std::sync::Arc;

use microagent_workspace::named::{self, ExecWish};
use microagent_workspace::{Interrupts, RunIo, StateDir};
use serde_json::json;

use super::name;
use crate::args::{ExecArgs, Global};
use crate::failure::Failure;
use crate::output::print_json;
use crate::progress::Shown;
use crate::run::{Asked, Capture, Streams, Terminals, failure_of_command, put_streams, variables};
use crate::terminal::{self, Keys};
use crate::{quantity, signals, tools};

/// Runs `microagent exec`.
pub(crate) async fn exec(args: ExecArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let asked = Asked { tty: args.tty, interactive: args.interactive };
    let streams = Streams::new(asked, global, Terminals::here())?;
    let wish = ExecWish {
        argv: args.command.clone(),
        env: variables(&args.env)?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        ..ExecWish::default()
    };
    let limit = args.timeout.as_deref().map(quantity::timeout).transpose()?;
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    let captures = global.json.then(|| (Capture::default(), Capture::default()));
    let mut io = streams_of(streams, captures.as_ref(), deadline, global)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let attached = named::attach(&state, &name).await?;
    let executed = attached.exec(wish, &mut io).await;
    // Before anything is told.
    terminal::give_back();
    let executed = executed?;
    let failure = failure_of_command(&executed.ending, args.timeout.as_deref());
    match captures {
        Some(captures) => {
            let mut result = json!(executed.result);
            put_streams(&mut result, &captures);
            print_json(&json!({ "workspace": name, "result": result, "error": failure }));
        }
        None => {
            if let Some(failure) = &failure {
                failure.print_text();
            }
        }
    }
    Ok(executed.ending.exit_code())
}

/// The user's streams for the command, and what interrupts it.
fn streams_of(
    streams: Streams,
    captures: Option<&(Capture, Capture)>,
    deadline: Option<tokio::time::Instant>,
    global: &Global,
) -> Result<RunIo, Failure> {
    let taken = |e| Failure::other(&e, "cannot take signals");
    let (hangup, signals) = signals::forward_with().map_err(taken)?;
    let terminal = streams.tty.then(terminal::sizes).transpose().map_err(taken)?;
    if streams.raw {
        terminal::mind_signals(None).map_err(taken)?;
    }
    Ok(RunIo {
        stdin: streams.stdin.then(|| match streams.raw {
            true => Box::new(Keys { source: tokio::io::stdin(), signals: hangup }) as _,
            false => Box::new(tokio::io::stdin()) as _,
        }),
        terminal,
        stdout: match captures {
            Some((stdout, _)) => stdout.sink(),
            None => Box::new(tokio::io::stdout()),
        },
        stderr: match captures {
            Some((_, stderr)) => stderr.sink(),
            None => Box::new(tokio::io::stderr()),
        },
        interrupts: Interrupts::new(signals, deadline),
        progress: Arc::new(Shown::new(global).interactive(streams.raw)),
        leave: None,
    })
}
