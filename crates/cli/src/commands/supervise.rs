//! `supervise-backend` and `supervise-plugin`: one request of the supervisor protocol on
//! standard input, its answer on standard output. Hidden, since it is programs that ask.

use std::path::Path;

use microagent_backend::Backend;
use microagent_fake::FakeBackend;
use microagent_plugin::{reply, serve};
use microagent_supervisor::{Selection, plugin_answer};
use microagent_workspace::{RunError, StateDir};

use crate::args::Global;
use crate::failure::Failure;
use crate::tools;

/// The backend without a hypervisor, which no run can use and everybody can ask.
const FAKE: &str = "fake";

/// Serves a backend that is built in.
pub(super) async fn backend(name: &str, global: &Global) -> Result<u8, Failure> {
    let backend = built_in(name, global)?;
    serve(&*backend).await.map_err(|e| Failure::other(&e, "cannot answer"))?;
    Ok(0)
}

/// Loads a plugin and has it answer.
pub(super) fn plugin(path: &Path) -> Result<u8, Failure> {
    reply(|request| plugin_answer(path, request))
        .map_err(|e| Failure::other(&e, "cannot answer"))?;
    Ok(0)
}

fn built_in(name: &str, global: &Global) -> Result<Box<dyn Backend>, Failure> {
    if name == FAKE {
        return Ok(Box::new(FakeBackend::new()));
    }
    let state = StateDir::peek(tools::state_path(global)?)?;
    let named = match Selection::parse(name).map_err(RunError::from)? {
        Selection::Named { name, options } => tools::registry(&state).by_name(&name, &options),
        Selection::Auto | Selection::Path { .. } => {
            return Err(Failure::usage(format!("'{name}' names no backend that is built in")));
        }
    };
    Ok(named.map_err(RunError::from)?)
}
