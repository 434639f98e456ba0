//! `perf boot|footprint`: what a machine costs that does next to nothing.

use microagent_image::{ImageError, Store};
use microagent_workspace::{RunError, StateDir};

use super::compare::refuse_single_runs;
use crate::args::{Global, PerfArgs, PerfCommand, RunArgs};
use crate::failure::Failure;
use crate::{measure, tools};

/// The program that is run.
const PROGRAM: &str = "true";

pub(crate) async fn run(command: PerfCommand, global: &Global) -> Result<u8, Failure> {
    let (args, tell): (_, fn(&measure::Report) -> String) = match command {
        PerfCommand::Boot(args) => (args, measure::comparison),
        PerfCommand::Footprint(args) => (args, measure::footprint),
    };
    let PerfArgs { measure, mut run } = *args;
    refuse_single_runs(&run, "perf")?;
    refuse_commands(&run)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    if run.supervisor.is_empty() {
        let config = tools::config(&state)?;
        run.supervisor.push(config.supervisor.unwrap_or_else(|| "auto".into()));
    }
    if run.image.is_none() {
        run.image = Some(match run.positional.pop() {
            Some(image) => image,
            None => smallest(&state)?,
        });
    }
    run.entrypoint = Some(PROGRAM.into());
    measure::run(run, measure, tell, global).await
}

fn refuse_commands(run: &RunArgs) -> Result<(), Failure> {
    let images = run.positional.len() + usize::from(run.image.is_some());
    if images > 1 || run.exec.is_some() || run.entrypoint.is_some() || !run.setup.is_empty() {
        return Err(Failure::usage(format!("perf runs '{PROGRAM}' and no other command"))
            .with_hint("`microagent compare` measures any, on one supervisor or on several"));
    }
    Ok(())
}

/// The smallest image that is here.
fn smallest(state: &StateDir) -> Result<String, Failure> {
    let none = || {
        Failure::usage("no image was named, and none is here").with_hint("name one with --image")
    };
    if !state.images().exists() {
        return Err(none());
    }
    let failure = |e: ImageError| Failure::from(RunError::from(e));
    let images = Store::open(&state.images()).and_then(|store| store.list()).map_err(failure)?;
    let smallest = images.into_iter().min_by_key(|image| image.size);
    smallest.map(|image| image.reference).ok_or_else(none)
}
