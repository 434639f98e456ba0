//! `start`.

use std::ffi::OsString;

use microagent_supervisor::Selection;
use microagent_workspace::named::{self, Accept, Halt, ShimProgram, StartRequest};
use microagent_workspace::{RunError, Tools};

use super::{name, told};
use crate::args::{Global, StartArgs};
use crate::failure::Failure;
use crate::tools;

/// The supervisor of whoever names none.
const SUPERVISOR: &str = "MICROAGENT_SUPERVISOR";

/// That of a workspace that was made with none.
const AUTO: &str = "auto";

/// Runs `microagent start`.
pub(crate) async fn start(args: StartArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let tools = tools::tools(tools::state(global)?)?;
    let own = named::status(&tools.state, &name)?.manifest.supervisor;
    let text = another(args.supervisor, &own, std::env::var(SUPERVISOR).ok());
    let supervisor = text.as_deref().map(Selection::parse).transpose();
    let supervisor = supervisor.map_err(|e| Failure::from(RunError::from(e)))?;
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

/// The supervisor in place of a workspace's own: the environment says what is meant where
/// nothing else was said, neither now nor when the workspace was made.
fn another(flag: Option<String>, own: &str, environment: Option<String>) -> Option<String> {
    let environment = environment.filter(|text| !text.is_empty() && own == AUTO);
    flag.or(environment)
}

async fn begin(request: &StartRequest, tools: &Tools) -> Result<named::Standing, Failure> {
    Ok(named::start(request, tools, &shim_program()?).await?)
}

/// How this program is a shim.
pub(crate) fn shim_program() -> Result<ShimProgram, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::other(&e, "cannot find this program"))?;
    Ok(ShimProgram { program, arguments: vec![OsString::from("shim")] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: Option<&str>, own: &str, environment: Option<&str>, expect: Option<&str>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let chosen = another(owned(flag), own, owned(environment));
        assert_eq!(chosen.as_deref(), expect, "{flag:?} {own} {environment:?}");
    }

    #[test]
    fn a_flag_goes_over_its_own_and_the_environment_only_over_none() {
        check(None, "kvm", None, None);
        check(Some("qemu"), "kvm", Some("fake"), Some("qemu"));
        check(None, "kvm", Some("qemu"), None);
        check(None, "auto", Some("qemu"), Some("qemu"));
        check(None, "auto", Some(""), None);
    }
}
