//! Keeping what a run found, for `docs/backends.md`.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use microagent_conformance::{Case, Matrix};

use crate::{Wired, runtime};

/// Names a file to which a line of JSON is added for each backend of which the run judged every
/// case, with no failure.
const VARIABLE: &str = "CONFORMANCE_RECORD";

/// Records what was found of these backends, if anybody wants to know.
///
/// # Errors
/// What writing meets.
pub fn record(matrix: &Matrix, judged: &[(Wired, Vec<Case>)]) -> anyhow::Result<()> {
    let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
    else {
        return Ok(());
    };
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("{VARIABLE} {}", path.display()))?;
    let complete = |(wired, cases): &&(Wired, Vec<Case>)| {
        cases.iter().all(|case| matrix.verdict(wired.name, case).is_some())
    };
    for (wired, cases) in judged.iter().filter(complete) {
        let Ok(backend) = &wired.backend else { continue };
        let Ok(caps) = runtime()?.block_on(backend.probe()) else { continue };
        if let Some(record) = matrix.record(wired.name, cases, &caps) {
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
    }
    Ok(())
}
