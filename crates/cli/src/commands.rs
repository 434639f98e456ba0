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

/// Runs the command and gives the exit code of the program.
pub(crate) async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(*args, &global).await,
        Command::Create(args) => workspace::create(*args, &global).await,
        Command::Start(args) => workspace::start(args, &global).await,
        Command::Exec(args) => workspace::exec(args, &global).await,
        Command::Connect(args) => workspace::connect(args, &global).await,
        Command::Snapshot { arguments: _ } => Err(Failure::usage("snapshot is not built yet")
            .with_hint("`microagent clone` copies a workspace that is at rest")),
        Command::Halt(args) => workspace::halt(args, &global).await,
        Command::Kill(args) => workspace::kill(args, &global).await,
        Command::Pause(args) => workspace::pause(args, &global).await,
        Command::Resume(args) => workspace::resume(args, &global).await,
        Command::Restart(args) => workspace::restart(args, &global).await,
        Command::Wait(args) => workspace::wait(args, &global).await,
        Command::Result(args) => workspace::result(args, &global),
        Command::Logs(args) => workspace::logs(args, &global).await,
        Command::Events(args) => workspace::events(args, &global).await,
        Command::Stats(args) => workspace::stats(args, &global).await,
        Command::Cp(args) => workspace::cp(args, &global).await,
        Command::Clone(args) => workspace::clone(args, &global).await,
        Command::Prune(args) => workspace::prune(args, &global).await,
        Command::Delete(args) => workspace::delete(args, &global).await,
        Command::List => workspace::list(&global),
        Command::Status(args) => workspace::status(args, &global),
        Command::Shim(args) => workspace::shim(args).await,
        Command::Image(command) => image::run(command, &global).await,
        Command::Rootfs(command) => rootfs::run(command, &global).await,
        Command::Volume(command) => volume::run(command, &global),
        Command::Artifacts(command) => artifacts::run(command, &global).await,
        Command::Kernel(command) => kernel::run(command, &global),
        Command::Backends(command) => backends::run(command, &global).await,
        Command::Doctor(args) => doctor::run(args, &global).await,
        Command::Compare(args) => compare::run(*args, &global).await,
        Command::Perf(command) => perf::run(command, &global).await,
        Command::Profiles => Ok(small::profiles(&global)),
        Command::Completion { shell } => Ok(completion::completion(shell)),
        Command::Version => Ok(small::version(&global)),
        Command::SuperviseBackend { name } => supervise::backend(&name, &global).await,
        Command::SupervisePlugin { path } => supervise::plugin(&path),
    }
}
