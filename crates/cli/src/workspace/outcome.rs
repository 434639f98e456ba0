//! `wait`, `result` and `stats`.

use std::time::Duration;

use microagent_workspace::named::{self, State, Usage};
use microagent_workspace::{EXIT_FAILED, Name, StateDir};
use serde_json::json;

use super::{name, object};
use crate::args::{FollowArgs, Global, NameArgs};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::tools;

/// How often `stats --follow` looks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs `microagent wait`: its exit code is that of the workspace's command.
pub(crate) async fn wait(args: NameArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let standing = named::wait(&state, &name).await?;
    let result = named::result(&state, &name)?;
    let code = result.as_ref().map_or(0, |result| result.exit_code);
    if global.json {
        let mut object = object(&name, &standing);
        if let Some(object) = object.as_object_mut() {
            object.insert("result".into(), json!(result));
        }
        print_json(&object);
    } else {
        print(standing.state.name());
    }
    match (standing.state, standing.error) {
        (State::Failed, Some(told)) if !global.json => {
            Failure { kind: told.kind, message: told.message, hint: told.hint }.print_text();
            Ok(EXIT_FAILED)
        }
        (State::Failed, _) => Ok(EXIT_FAILED),
        _ => Ok(code),
    }
}

/// Runs `microagent result`.
pub(crate) fn result(args: NameArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let result = named::result(&state, &name)?;
    if global.json {
        print_json(&json!({ "workspace": name, "result": result }));
        return Ok(0);
    }
    match result {
        Some(result) => print(&table(
            &["STARTED", "EXITED", "CODE", "SIGNAL"],
            vec![vec![
                result.started_at,
                result.exited_at,
                result.exit_code.to_string(),
                result.signal.map_or("-".into(), |signal| signal.to_string()),
            ]],
        )),
        None => print("its command has not ended, or it has none"),
    }
    Ok(0)
}

/// Runs `microagent stats`.
pub(crate) async fn stats(args: FollowArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    loop {
        let usage = named::usage(&state, &name).await?;
        tell(&name, &usage, global);
        if !args.follow {
            return Ok(0);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn tell(name: &Name, usage: &Usage, global: &Global) {
    if global.json {
        return print_json(&json!({ "workspace": name, "usage": usage }));
    }
    let kib = |kib: Option<u64>| kib.map_or("-".to_owned(), |kib| kib.to_string());
    let memory = usage.memory.as_ref();
    print(&table(
        &["NAME", "CPU/ms", "GUEST/KiB", "MONITOR/KiB", "SHIM/KiB"],
        vec![vec![
            name.to_string(),
            usage.cpu_ms.to_string(),
            kib(memory.map(|memory| memory.guest_kib())),
            kib(memory.map(|memory| memory.beyond_guest_kib())),
            kib(usage.shim_kib),
        ]],
    ));
}
