//! Running the same thing many times, and what is learnt from it: `compare` and `perf`.
//!
//! [`rounds`] runs it, [`report`] is what came of it as `--json` prints it and `--baseline`
//! reads it, [`text`] is the same for people. How machines are run is not here: each run is
//! one of `microagent run`.

mod condition;
mod outcome;
mod recorder;
mod report;
mod rounds;
mod statistics;
mod text;

pub(crate) use condition::Condition;
pub(crate) use report::Report;
pub(crate) use text::{comparison, footprint};

use microagent_workspace::{EXIT_FAILED, signal_code};

use crate::args::{Global, MeasureArgs, RunArgs};
use crate::failure::Failure;
use crate::output::{print, print_json, say};
use rounds::{Rounds, Stopped};

/// Exit code where a `--fail-if` holds.
const EXIT_CHANGED: u8 = 1;

/// Measures `run` on each of its supervisors, tells what came of it, for people in the form
/// that `tell` gives it, and gives the exit code of the program.
pub(crate) async fn run(
    run: RunArgs,
    args: MeasureArgs,
    tell: fn(&Report) -> String,
    global: &Global,
) -> Result<u8, Failure> {
    let baseline = args.baseline.as_deref().map(Report::read).transpose()?;
    if let Some(baseline) = &baseline {
        condition::check(&args.fail_if, baseline, &run.supervisor)?;
    }
    let rounds = Rounds { run, count: args.iterations, warm_up: args.warm_up };
    let mut report = match rounds.run(global).await {
        Ok(measured) => Report::of(measured, &rounds),
        Err(Stopped::Failed(failure)) => return Err(failure),
        Err(Stopped::Signal(signal)) => {
            let message = format!("interrupted by signal {signal}");
            Failure { kind: "interrupted".into(), message, hint: None }.print(global.json);
            return Ok(signal_code(signal));
        }
    };
    if let Some(baseline) = &baseline {
        report.judge(&args.fail_if, baseline);
    }
    let code = exit_code(&report);
    if global.json {
        print_json(&report);
    } else {
        print(&tell(&report));
        text::notes(&report, baseline.as_ref(), global).iter().for_each(|n| say(n));
        report.error.iter().for_each(Failure::print_text);
    }
    Ok(code)
}

fn exit_code(report: &Report) -> u8 {
    if report.supervisors.iter().any(|row| row.error.is_some()) {
        EXIT_FAILED
    } else if report.changes.iter().any(|change| change.fails) {
        EXIT_CHANGED
    } else {
        0
    }
}
