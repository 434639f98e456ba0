//! `connect`.

use std::io::IsTerminal;

use microagent_workspace::named::{self, Left, Seat};
use microagent_workspace::{Interrupts, StateDir};

use super::name;
use crate::args::{ConnectArgs, Global};
use crate::detach::UntilDetached;
use crate::failure::Failure;
use crate::output::say;
use crate::terminal::{self, Keys};
use crate::{signals, tools};

/// Runs `microagent connect`.
pub(crate) async fn connect(args: ConnectArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    if global.json {
        return Err(Failure::usage("connect shows a console, and --json prints one object")
            .with_hint("`microagent exec --json` runs a command"));
    }
    let state = StateDir::peek(tools::state_path(global)?)?;
    if let Some(line) = &args.send {
        named::send_line(&state, &name, line).await?;
        return Ok(0);
    }
    let taken = |e| Failure::other(&e, "cannot take the terminal");
    let (hangup, signals) = signals::forward_with().map_err(taken)?;
    let raw = std::io::stdin().is_terminal();
    let terminal = raw.then(terminal::sizes).transpose().map_err(taken)?;
    let input: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match raw {
        true => {
            terminal::mind_signals(None).map_err(taken)?;
            terminal::take().map_err(taken)?;
            let keys = Keys { source: tokio::io::stdin(), signals: hangup };
            Box::new(UntilDetached::new(keys))
        }
        false => Box::new(tokio::io::stdin()),
    };
    let seat = Seat { input, output: Box::new(tokio::io::stdout()), terminal };
    let mut interrupts = Interrupts::new(signals, None);
    let left = named::connect(&state, &name, seat, &mut interrupts).await;
    // Before anything is told.
    terminal::give_back();
    match left? {
        Left::Detached if raw => say(&format!("detached from {name}, which goes on")),
        Left::Ended if raw => say(&format!("the console of {name} has ended")),
        Left::Detached | Left::Ended => {}
    }
    Ok(0)
}
