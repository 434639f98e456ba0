//! What is said to whoever starts this program by hand.

use std::process::ExitCode;

const USAGE: &str =
    "usage: microagent-vmm gateway | guard | probe | run | serve-net | serve-vsock | --version";

/// Prints the version.
pub(crate) fn version() -> ExitCode {
    println!("microagent-vmm {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

/// Prints how the program is used.
pub(crate) fn refuse() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
