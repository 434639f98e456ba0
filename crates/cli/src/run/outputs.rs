//! `--output`: from what was written to requests, and what came of them.

use std::path::Path;

use microagent_workspace::{OutputRequest, ReportedOutput, check_outputs};

use crate::args::{Global, RunArgs};
use crate::failure::Failure;
use crate::output::say;

/// All outputs that were asked for.
pub(super) fn requests(args: &RunArgs) -> Result<Vec<OutputRequest>, Failure> {
    let form = "--output NAME=/PATH";
    let output = |text: &String| {
        let (name, path) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--output '{text}': it has no name")).with_hint(form)
        })?;
        OutputRequest::new(name, path).map_err(|e| Failure::from(e).with_hint(form))
    };
    let outputs = args.disks.output.iter().map(output).collect::<Result<Vec<_>, _>>()?;
    check_outputs(&outputs)?;
    match &args.disks.output_dir {
        Some(directory) if outputs.is_empty() => Err(Failure::usage(format!(
            "--output-dir {} without anything to put there",
            directory.display()
        ))
        .with_hint(form)),
        None if !outputs.is_empty() && !args.keep => {
            Err(Failure::usage("--output says what is wanted, but not where to put it")
                .with_hint("--output-dir DIR, or --keep and `microagent artifacts get` later"))
        }
        _ => Ok(outputs),
    }
}

/// Tells what was left out of outputs, and gives the first that could not be had.
pub(crate) fn told_outputs(outputs: &[ReportedOutput], global: &Global) -> Option<Failure> {
    if !global.json {
        for output in outputs {
            told_left_out(&output.place, &output.left_out, output.left_out_count);
        }
    }
    let failed = |output: &ReportedOutput| {
        let error = output.error.as_ref()?;
        let message = format!("output '{}': {error}", output.name);
        Some(Failure { kind: "output".into(), message, hint: None })
    };
    outputs.iter().find_map(failed)
}

/// Tells what was left out of a copy.
pub(crate) fn told_left_out(place: &Path, named: &[String], count: u64) {
    for one in named {
        say(&format!("left out of {}: {one}", place.display()));
    }
    let more = count.saturating_sub(named.len() as u64);
    if more > 0 {
        say(&format!("left out of {}: {more} more", place.display()));
    }
}
