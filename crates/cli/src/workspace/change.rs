//! Commands that change where workspaces are in their life.

use microagent_workspace::named::{self, Force, Halt, Standing};
use microagent_workspace::{Name, RunError, Tools};
use serde_json::{Value, json};

use super::start::shim_program;
use super::{name, object};
use crate::args::{DeleteArgs, Global, HaltArgs, NamesArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::{quantity, tools};

/// Runs `microagent halt`.
pub(crate) async fn halt(args: HaltArgs, global: &Global) -> Result<u8, Failure> {
    let force_after = args.force_after.as_deref().map(quantity::timeout).transpose()?;
    let shim = shim_program()?;
    each(&args.names, global, async |tools: &Tools, name: &Name| {
        written_back(named::halt(tools, &shim, name, Halt { force_after }).await?)
    })
    .await
}

/// Runs `microagent kill`.
pub(crate) async fn kill(args: NamesArgs, global: &Global) -> Result<u8, Failure> {
    each(&args.names, global, async |tools: &Tools, name: &Name| named::kill(tools, name).await)
        .await
}

/// Runs `microagent pause`.
pub(crate) async fn pause(args: NamesArgs, global: &Global) -> Result<u8, Failure> {
    each(&args.names, global, async |tools: &Tools, name: &Name| named::pause(tools, name).await)
        .await
}

/// Runs `microagent resume`.
pub(crate) async fn resume(args: NamesArgs, global: &Global) -> Result<u8, Failure> {
    each(&args.names, global, async |tools: &Tools, name: &Name| named::resume(tools, name).await)
        .await
}

/// Runs `microagent delete`.
pub(crate) async fn delete(args: DeleteArgs, global: &Global) -> Result<u8, Failure> {
    let force = if args.force { Force::Yes } else { Force::No };
    let names = args.names.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
    let tools = tools::tools(tools::state(global)?)?;
    let mut objects = Vec::new();
    let mut first = None;
    for name in &names {
        match named::delete(&tools, name, force).await {
            Ok(()) if global.json => objects.push(json!({ "workspace": name, "deleted": true })),
            Ok(()) => print(name.as_str()),
            Err(error) => told_failure(name, error, &mut objects, &mut first, global),
        }
    }
    Ok(finish(objects, first, global))
}

/// One that ended, and whose guest did not write back its disks, did not do what was asked.
fn written_back(standing: Standing) -> Result<Standing, RunError> {
    match standing.error.clone() {
        Some(told) if told.message.contains("did not write back") => Err(told.into()),
        _ => Ok(standing),
    }
}

/// Does it to each; one that fails does not keep it from the others.
async fn each(
    names: &[String],
    global: &Global,
    what: impl AsyncFn(&Tools, &Name) -> Result<Standing, RunError>,
) -> Result<u8, Failure> {
    let names = names.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
    let tools = tools::tools(tools::state(global)?)?;
    let mut objects = Vec::new();
    let mut first = None;
    for name in &names {
        match what(&tools, name).await {
            Ok(standing) if global.json => objects.push(object(name, &standing)),
            Ok(_) => print(name.as_str()),
            Err(error) => told_failure(name, error, &mut objects, &mut first, global),
        }
    }
    Ok(finish(objects, first, global))
}

fn told_failure(
    name: &Name,
    error: RunError,
    objects: &mut Vec<Value>,
    first: &mut Option<Failure>,
    global: &Global,
) {
    let failure = Failure::from(error);
    if global.json {
        objects.push(json!({ "workspace": name, "error": failure }));
    } else {
        failure.print_text();
    }
    first.get_or_insert(failure);
}

fn finish(mut objects: Vec<Value>, first: Option<Failure>, global: &Global) -> u8 {
    if global.json {
        match (objects.len(), objects.pop()) {
            // One name, one object.
            (1, Some(object)) => print_json(&object),
            (_, last) => {
                objects.extend(last);
                print_json(&json!({ "workspaces": objects, "error": first }));
            }
        }
    }
    first.map_or(0, |failure| failure.exit_code())
}
