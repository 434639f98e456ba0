//! Files of a guest that its user wants to have.
//!
//! While the machine runs, its agent sends them; from a kept workspace they are read from its
//! disk: [`artifacts`](crate::artifacts).

mod receive;
mod seen;
mod words;

use std::path::{Path, PathBuf};

use microagent_rootfs::Extracted;
use serde::{Deserialize, Serialize};

pub(crate) use receive::receive;
pub(crate) use seen::{Seen, see};
pub(crate) use words::{Words, one_line};

use crate::{Name, RunError, RunRequest};

/// Longest path in a guest, in bytes.
const PATH_MAX: usize = 4095;

/// A file or directory of the guest that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRequest {
    /// What it is called on the host.
    pub name: Name,
    /// Its absolute path in the guest; a link there stands for what it leads to.
    pub path: String,
}

/// What came of an output. Its JSON form is part of the command-line interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedOutput {
    /// Its name.
    pub name: String,
    /// Its path in the guest.
    pub path: String,
    /// Where it is on the host.
    pub place: PathBuf,
    /// Files, directories and links in it.
    pub entries: u64,
    /// Bytes of content, holes not counted.
    pub bytes: u64,
    /// The first of what was left out, each with the reason.
    pub left_out: Vec<String>,
    /// How much was left out.
    pub left_out_count: u64,
    /// Why it is not there, if it is not.
    pub error: Option<String>,
}

impl OutputRequest {
    /// Checks name and path.
    ///
    /// # Errors
    /// `Usage`
    pub fn new(name: &str, path: &str) -> Result<Self, RunError> {
        let Ok(name) = Name::new(name) else {
            return Err(RunError::usage(format!(
                "output name '{name}' must be 1 to 63 characters of a-z, A-Z, 0-9, '.', '_' and \
                 '-', beginning with a letter or digit"
            )));
        };
        if !path.starts_with('/') || path.len() > PATH_MAX || path.contains('\0') {
            let message = format!("output '{name}': '{path}' is not an absolute path in the guest");
            return Err(RunError::usage(message));
        }
        Ok(Self { name, path: path.to_owned() })
    }

    /// What is reported of it.
    pub(crate) fn report(
        &self,
        place: PathBuf,
        fetched: Result<Extracted, String>,
    ) -> ReportedOutput {
        let (done, error) = match fetched {
            Ok(done) => (done, None),
            Err(error) => (Extracted::default(), Some(error)),
        };
        let Extracted { entries, bytes, left_out, left_out_count } = done;
        let (name, path) = (self.name.to_string(), self.path.clone());
        ReportedOutput { name, path, place, entries, bytes, left_out, left_out_count, error }
    }
}

/// Refuses two outputs of one name.
///
/// # Errors
/// `Usage`
pub fn check_outputs(outputs: &[OutputRequest]) -> Result<(), RunError> {
    for (at, output) in outputs.iter().enumerate() {
        let before = outputs.get(..at).unwrap_or_default();
        if before.iter().any(|other| other.name == output.name) {
            return Err(RunError::usage(format!("two outputs are named '{}'", output.name)));
        }
    }
    Ok(())
}

/// Makes the directory that outputs are to be in, and refuses one that holds any of them: what
/// the command takes hours for must not be in the way of anything then.
pub(crate) fn prepare(request: &RunRequest) -> Result<(), RunError> {
    let Some(directory) = &request.output_dir else { return Ok(()) };
    std::fs::create_dir_all(directory)
        .map_err(|e| RunError::state(format!("cannot make {}", directory.display()), e))?;
    check_free(directory, &request.outputs)
}

/// Refuses a directory that holds any of these outputs.
pub(crate) fn check_free(directory: &Path, outputs: &[OutputRequest]) -> Result<(), RunError> {
    let place = |output: &OutputRequest| directory.join(output.name.as_str());
    match outputs.iter().map(place).find(|place| place.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(place) => Err(RunError::Usage {
            message: format!("{} exists already", place.display()),
            hint: Some("remove it, or choose another directory or name".into()),
        }),
    }
}
