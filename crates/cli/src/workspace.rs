//! Commands for workspaces that last.

mod change;
mod clone;
mod connect;
mod copy;
mod create;
mod exec;
mod file;
mod follow;
mod look;
mod outcome;
mod shim;
mod start;

use microagent_workspace::Name;
use microagent_workspace::named::Standing;
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{print, print_json};

pub(crate) use change::{delete, halt, kill, pause, resume};
pub(crate) use clone::{clone, prune};
pub(crate) use connect::connect;
pub(crate) use copy::cp;
pub(crate) use create::create;
pub(crate) use exec::exec;
pub(crate) use follow::{events, logs};
pub(crate) use look::{list, status};
pub(crate) use outcome::{result, stats, wait};
pub(crate) use shim::shim;
pub(crate) use start::{restart, shim_program, start};

/// A name that a user gave.
fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|e| Failure::usage(e.to_string()))
}

/// How a workspace is, for programs.
fn object(name: &Name, standing: &Standing) -> Value {
    let Standing { state, since, backend, restarts, error, .. } = standing;
    json!({
        "workspace": name,
        "state": state,
        "since": since,
        "backend": backend,
        "restarts": restarts,
        "error": error,
    })
}

/// Tells that something was done to a workspace.
fn told(name: &Name, standing: &Standing, global: &Global) {
    if global.json {
        print_json(&object(name, standing));
    } else {
        print(name.as_str());
    }
}
