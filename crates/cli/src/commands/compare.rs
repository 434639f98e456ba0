//! `compare`: the same on several supervisors.

use microagent_workspace::StateDir;

use crate::args::{CompareArgs, Global, RunArgs};
use crate::failure::Failure;
use crate::{measure, tools};

pub(crate) async fn run(args: CompareArgs, global: &Global) -> Result<u8, Failure> {
    let CompareArgs { measure, mut run } = args;
    refuse_single_runs(&run, "compare")?;
    if run.supervisor.is_empty() {
        let config = tools::config(&StateDir::peek(tools::state_path(global)?)?)?;
        run.supervisor.extend(config.supervisor);
    }
    if run.supervisor.is_empty() {
        return Err(Failure::usage("no supervisor was named")
            .with_hint("name some with --supervisor; `microagent backends list` shows them"));
    }
    measure::run(run, measure, measure::comparison, global).await
}

/// Flags of `run` that are about one run make no sense for many.
pub(super) fn refuse_single_runs(run: &RunArgs, command: &str) -> Result<(), Failure> {
    let given = [
        ("--name", run.name.is_some()),
        ("--keep", run.keep),
        ("--interactive", run.interactive),
        ("--tty", run.tty),
        ("--trace", run.trace),
        ("--dry-run", run.dry_run),
        // The first of them would be in the way of the second.
        ("--output-dir", run.disks.output_dir.is_some()),
        // What one run writes, the next would find.
        ("--disk with rw", run.disks.disk.iter().any(|disk| disk.ends_with(":rw"))),
        ("--volume without ro", run.disks.volume.iter().any(|volume| !volume.ends_with(":ro"))),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::usage(format!("{flag} does not apply to {command}"))
            .with_hint(format!("leave it out: {command} runs many times and keeps nothing"))),
        None => Ok(()),
    }
}
