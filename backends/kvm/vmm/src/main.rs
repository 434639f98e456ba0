//! The processes beside a machine: `guard` starts and outlives a hypervisor, `serve-vsock`
//! is the vsock device of one that has none of its own.
//!
//! Both read one JSON document from standard input; `microagent-vmm-protocol` says which,
//! and which descriptors they are given.

mod filters;
mod guard;
mod inherited;
mod life;
mod log;
mod serve_vsock;
mod signals;
mod spec;

use std::process::ExitCode;

const USAGE: &str = "usage: microagent-vmm guard | serve-vsock | --version";

fn main() -> ExitCode {
    log::to_stderr();
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.iter().map(|a| a.to_str()).collect::<Vec<_>>()[..] {
        [Some("guard")] => guard::run(),
        [Some("serve-vsock")] => serve_vsock::run(),
        [Some("--version")] => {
            println!("microagent-vmm {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
