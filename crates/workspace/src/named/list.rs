//! Looking at workspaces.

use std::fs;

use super::manifest::Manifest;
use super::registered::Registered;
use super::standing::{Standing, Told};
use crate::{Name, RunError, StateDir};

/// A workspace in a list.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// What it was made of and where it is in its life; or why that cannot be read.
    pub found: Result<Whole, Told>,
}

/// A workspace that can be read.
#[derive(Debug)]
pub struct Whole {
    /// Where it is in its life.
    pub standing: Standing,
    /// What it was made of.
    pub manifest: Manifest,
}

/// All workspaces, by name.
///
/// # Errors
/// Where the directory of them cannot be read; what is wrong with one stands in its place.
pub fn list(state: &StateDir) -> Result<Vec<Listed>, RunError> {
    let dir = state.workspaces();
    let failed = |e| RunError::state(format!("cannot read {}", dir.display()), e);
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let name = |entry: fs::DirEntry| Name::new(entry.file_name().into_string().ok()?).ok();
    let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names.into_iter().filter_map(|name| listed(state, name)).collect())
}

/// One that is being made, or removed, is none.
fn listed(state: &StateDir, name: Name) -> Option<Listed> {
    let found = match status(state, &name) {
        Ok(whole) => Ok(whole),
        Err(RunError::NoWorkspace(_)) => return None,
        Err(error) => Err(Told::of(&error)),
    };
    Some(Listed { name, found })
}

/// One workspace.
///
/// # Errors
/// `NoWorkspace`, and what reading it meets.
pub fn status(state: &StateDir, name: &Name) -> Result<Whole, RunError> {
    let workspace = Registered::find(state, name)?;
    Ok(Whole { standing: workspace.standing()?, manifest: workspace.manifest()? })
}
