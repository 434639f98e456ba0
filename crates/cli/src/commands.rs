//! One module for each command.

mod artifacts;
mod backends;
mod compare;
mod completion;
mod doctor;
mod image;
mod kernel;
mod perf;
mod rootfs;
mod rootfs_read;
mod small;
mod supervise;
mod volume;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::{run, workspace};

/// Runs the command and gives the exit code of the program. Each is boxed, so that none takes
/// the stack of the largest: pages that are touched are most of what a short command costs.
pub(crate) async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => Box::pin(run::run(*args, &global)).await,
        Command::Create(args) => Box::pin(workspace::create(*args, &global)).await,
        Command::Start(args) => Box::pin(workspace::start(args, &global)).await,
        Command::Exec(args) => Box::pin(workspace::exec(args, &global)).await,
        Command::Connect(args) => Box::pin(workspace::connect(args, &global)).await,
        Command::Snapshot { arguments: _ } => Err(Failure::usage("snapshot is not built yet")
            .with_hint("`microagent clone` copies a workspace that is at rest")),
        Command::Halt(args) => Box::pin(workspace::halt(args, &global)).await,
        Command::Kill(args) => Box::pin(workspace::kill(args, &global)).await,
        Command::Pause(args) => Box::pin(workspace::pause(args, &global)).await,
        Command::Resume(args) => Box::pin(workspace::resume(args, &global)).await,
        Command::Restart(args) => Box::pin(workspace::restart(args, &global)).await,
        Command::Wait(args) => Box::pin(workspace::wait(args, &global)).await,
        Command::Result(args) => workspace::result(args, &global),
        Command::Logs(args) => Box::pin(workspace::logs(args, &global)).await,
        Command::Events(args) => Box::pin(workspace::events(args, &global)).await,
        Command::Stats(args) => Box::pin(workspace::stats(args, &global)).await,
        Command::Cp(args) => Box::pin(workspace::cp(args, &global)).await,
        Command::Clone(args) => Box::pin(workspace::clone(args, &global)).await,
        Command::Prune(args) => Box::pin(workspace::prune(args, &global)).await,
        Command::Delete(args) => Box::pin(workspace::delete(args, &global)).await,
        Command::List => workspace::list(&global),
        Command::Status(args) => workspace::status(args, &global),
        Command::Shim(args) => Box::pin(workspace::shim(args)).await,
        Command::Image(command) => Box::pin(image::run(command, &global)).await,
        Command::Rootfs(command) => Box::pin(rootfs::run(command, &global)).await,
        Command::Volume(command) => volume::run(command, &global),
        Command::Artifacts(command) => Box::pin(artifacts::run(command, &global)).await,
        Command::Kernel(command) => kernel::run(command, &global),
        Command::Backends(command) => Box::pin(backends::run(command, &global)).await,
        Command::Doctor(args) => Box::pin(doctor::run(args, &global)).await,
        Command::Compare(args) => Box::pin(compare::run(*args, &global)).await,
        Command::Perf(command) => Box::pin(perf::run(command, &global)).await,
        Command::Profiles => Ok(small::profiles(&global)),
        Command::Completion { shell } => Ok(completion::completion(shell)),
        Command::Version => Ok(small::version(&global)),
        Command::SuperviseBackend { name } => Box::pin(supervise::backend(&name, &global)).await,
        Command::SupervisePlugin { path } => supervise::plugin(&path),
    }
}
