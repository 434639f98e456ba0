//! Running one case in a place of its own.

use anyhow::Context as _;
use microagent_conformance::{Case, Context, Verdict, run};

use crate::Wired;

/// A runtime as the program has it: one thread, with time and I/O.
///
/// # Errors
/// What making it meets.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Judges one case in a new directory and on a new runtime; `complete` adds what the caller
/// knows to what the case is given.
///
/// # Errors
/// If directory or runtime cannot be made.
pub fn judge(
    wired: &Wired,
    case: &Case,
    complete: impl FnOnce(Context) -> Context,
) -> anyhow::Result<Verdict> {
    let scratch = tempfile::Builder::new().prefix("conformance-").tempdir().context("scratch")?;
    let context = match wired.context(scratch.path()) {
        Ok(context) => complete(context),
        Err(reason) => return Ok(Verdict::Skipped(reason)),
    };
    Ok(runtime()?.block_on(run(case, context)))
}
