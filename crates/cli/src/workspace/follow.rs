//! `logs` and `events`.

use std::io::{self, Write};

use microagent_workspace::named::{self, Source, Until};
use microagent_workspace::{RunError, StateDir};
use serde_json::json;

use super::name;
use crate::args::{FollowArgs, Global, LogsArgs};
use crate::failure::Failure;
use crate::output::print_json;
use crate::run::{Capture, put_streams};
use crate::tools;

/// Runs `microagent logs`.
pub(crate) async fn logs(args: LogsArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    if args.console {
        let text = named::console(&state, &name).await?;
        // That nobody reads it is no failure.
        let _ = io::stdout().write_all(&text);
        return Ok(0);
    }
    if global.json {
        if args.follow {
            return Err(Failure::usage("--follow never ends, and --json prints one object")
                .with_hint("leave out one of them"));
        }
        let capture = Capture::default();
        named::read(&state, &name, Source::Output, Until::Now, &mut capture.sink()).await?;
        let mut object = json!({ "workspace": name });
        put_streams(&mut object, &(capture, Capture::default()));
        print_json(&object);
        return Ok(0);
    }
    let until = if args.follow { Until::Rest } else { Until::Now };
    let mut stdout = tokio::io::stdout();
    unless_closed(named::read(&state, &name, Source::Output, until, &mut stdout).await)
}

/// Runs `microagent events`.
pub(crate) async fn events(args: FollowArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let until = if args.follow { Until::Ever } else { Until::Now };
    let mut stdout = tokio::io::stdout();
    unless_closed(named::read(&state, &name, Source::Events, until, &mut stdout).await)
}

/// Whoever has read enough closes it, which is no failure.
fn unless_closed(read: Result<(), RunError>) -> Result<u8, Failure> {
    match read {
        Err(RunError::State { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        read => Ok(read.map(|()| 0)?),
    }
}
