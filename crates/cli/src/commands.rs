//! One module for each command.

mod artifacts;
mod backends;
mod compare;
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
use crate::run;

/// Runs the command and gives the exit code of the program.
pub(crate) async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(*args, &global).await,
        Command::Image(command) => image::run(command, &global).await,
        Command::Rootfs(command) => rootfs::run(command, &global).await,
        Command::Volume(command) => volume::run(command, &global),
        Command::Artifacts(command) => artifacts::run(command, &global),
        Command::Kernel(command) => kernel::run(command, &global),
        Command::Backends(command) => backends::run(command, &global).await,
        Command::Doctor(args) => doctor::run(args, &global).await,
        Command::Compare(args) => compare::run(*args, &global).await,
        Command::Perf(command) => perf::run(command, &global).await,
        Command::Profiles => Ok(small::profiles(&global)),
        Command::Completion { shell } => Ok(small::completion(shell)),
        Command::Version => Ok(small::version(&global)),
        Command::SuperviseBackend { name } => supervise::backend(&name, &global).await,
        Command::SupervisePlugin { path } => supervise::plugin(&path),
    }
}
