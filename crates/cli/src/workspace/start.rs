//! `start`.

use std::ffi::OsString;

use microagent_supervisor::Selection;
use microagent_workspace::named::{self, Accept, Halt, ShimProgram, StartRequest};
use microagent_workspace::{RunError, Tools};

use super::{name, told};
use crate::args::{Global, StartArgs};
use crate::failure::Failure;
use crate::tools;

/// Runs `microagent start`.
pub(crate) async fn start(args: StartArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let supervisor = args.supervisor.as_deref().map(Selection::parse).transpose();
    let supervisor = supervisor.map_err(|e| Failure::from(RunError::from(e)))?;
    let tools = tools::tools(tools::state(global)?)?;
    if let Some(supervisor) = &supervisor {
        let checked = tools.registry.check(supervisor).await;
        checked.map_err(|e| Failure::from(RunError::from(e)))?;
    }
    let accept = if args.accept_changes { Accept::Changes } else { Accept::Nothing };
    let request = StartRequest { name: name.clone(), supervisor, accept };
    let started = begin(&request, &tools).await?;
    let standing = if args.wait { named::wait_ready(&tools, &name).await? } else { started };
    told(&name, &standing, global);
    Ok(0)
}

/// Runs `microagent restart`.
pub(crate) async fn restart(args: StartArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let tools = tools::tools(tools::state(global)?)?;
    // Rather than halt one that is not started again.
    if !args.accept_changes {
        named::check(&tools, &name)?;
    }
    named::halt(&tools, &shim_program()?, &name, Halt::default()).await?;
    start(args, global).await
}

async fn begin(request: &StartRequest, tools: &Tools) -> Result<named::Standing, Failure> {
    Ok(named::start(request, tools, &shim_program()?).await?)
}

/// How this program is a shim.
pub(super) fn shim_program() -> Result<ShimProgram, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::other(&e, "cannot find this program"))?;
    Ok(ShimProgram { program, arguments: vec![OsString::from("shim")] })
}
