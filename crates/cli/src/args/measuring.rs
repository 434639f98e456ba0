//! Arguments of what measures and explains: `backends`, `doctor`, `compare`, `perf`.

use std::path::PathBuf;

use clap::{Arg, Args, Subcommand};

use super::RunArgs;
use crate::measure::Condition;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum BackendsCommand {
    /// Show the matrix of what each backend can do here
    #[command(visible_alias = "ls")]
    List,
    /// Look at some backends, or at all; exit code 1 if one of those named cannot be used
    Probe {
        /// As for `run --supervisor`: names, options, paths
        #[arg(value_name = "SUPERVISOR")]
        supervisors: Vec<String>,
    },
}

// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 for ok and degraded, 1 for failed.")]
pub(crate) struct DoctorArgs {
    /// Guest kernel that runs would be given
    #[arg(long, value_name = "PATH", env = "MICROAGENT_KERNEL")]
    pub(crate) kernel: Option<PathBuf>,
}

// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_HELP)]
#[command(mut_args(for_compare))]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

const COMPARE_HELP: &str = "\
All runs see the same host name. Rounds go over all backends in turn, forth and back, so that
what else the host does falls on each alike. Percentiles are by nearest rank. Memory is what the machine's
processes take beyond the guest's, when the command has ended.

Exit status: 0 if it ran on all; 1 if a --fail-if holds; 2 usage; 125 if a backend could not
run it. The command's own exit code is compared, and changes nothing here.

Examples:
  microagent compare --image alpine:3 --exec 'uname -r' --supervisor kvm --supervisor qemu
  microagent compare --json --supervisor kvm alpine:3 true > before.json
  microagent compare --baseline before.json --fail-if 'boot.p95>+20%' --supervisor kvm alpine:3 true";

// What is measured, and what it is held against.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// How many rounds count
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) iterations: u32,
    /// How many rounds go before them and do not count
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) warm_up: u32,
    /// What an earlier call printed with --json
    #[arg(long, value_name = "FILE", requires = "fail_if")]
    pub(crate) baseline: Option<PathBuf>,
    /// Exit with 1 if this changed by more: [total|memory|<phase>.]p50|p95>[+]N%; repeatable
    #[arg(long, value_name = "CONDITION", requires = "baseline")]
    pub(crate) fail_if: Vec<Condition>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum PerfCommand {
    /// How long each step of a run of `true` takes
    Boot(Box<PerfArgs>),
    /// What memory a machine takes beyond its guest's, after `true`
    Footprint(Box<PerfArgs>),
}

// Arguments of `perf boot` and `perf footprint`.
#[derive(Debug, Args)]
#[command(mut_args(for_perf), after_help = PERF_HELP)]
pub(crate) struct PerfArgs {
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

const PERF_HELP: &str = "\
Exit status: as of `compare`, whose --json this prints too.

Examples:
  microagent perf boot --image alpine:3
  microagent perf boot --supervisor qemu:accel=tcg --iterations 20 --json";

/// An argument as `compare` has it: what means nothing for many runs is hidden, and told so
/// if it is given.
fn for_compare(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "supervisor" => arg.help("Backend to run it on, as for `run`; repeatable"),
        "name" | "keep" | "rm" | "interactive" | "tty" | "trace" | "dry_run" => arg.hide(true),
        _ => arg,
    }
}

/// An argument as `perf` has it, which has a command of its own.
fn for_perf(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "image" => arg.help("The image [default: the smallest that is here]"),
        "positional" => arg.help("The image, unless --image is given").value_name("IMAGE"),
        "iterations" => arg.default_value("10"),
        "exec" | "setup" | "entrypoint" | "shell" => arg.hide(true),
        "name" | "keep" | "rm" | "interactive" | "tty" | "trace" | "dry_run" => arg.hide(true),
        _ => arg,
    }
}
