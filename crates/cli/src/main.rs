//! `microagent`: runs commands of OCI images in microVMs.
//!
//! Arguments as they were parsed stay in `args`; what they mean is made of them in the
//! module of each command. Errors are joined and printed once, here.

mod args;
mod commands;
mod detach;
mod failure;
mod foreign;
mod measure;
mod output;
mod progress;
mod quantity;
mod run;
mod signals;
mod terminal;
mod tools;
mod umask;
mod volume_flag;
mod workspace;

use std::process::ExitCode;

use crate::failure::Failure;

fn main() -> ExitCode {
    umask::make_private();
    let json = std::env::args().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let cli = match volume_flag::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, json),
    };
    output::start_logging(&cli.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::dispatch(cli));
            // A thread may still be reading standard input; nobody waits for it.
            runtime.shutdown_background();
            result
        }
        Err(e) => Err(Failure::other(&e, "cannot start")),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.print(json),
    }
}
