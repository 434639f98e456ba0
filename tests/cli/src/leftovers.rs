//! What a run must not leave behind.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::processes::{Process, mentioning};

/// What was found of runs that have ended.
#[derive(Debug, Default)]
pub struct Leftovers {
    processes: Vec<Process>,
    files: Vec<PathBuf>,
}

impl Leftovers {
    /// Looks for processes that use `state`, for workspaces that are not in `kept`, and for
    /// sockets, pipes and temporary files anywhere in it.
    ///
    /// # Errors
    /// All that was found.
    pub fn check(state: &Path, kept: &[String]) -> Result<(), Self> {
        let mut found = Self { processes: mentioning(state), ..Self::default() };
        for path in children(&state.join("workspaces")) {
            if !kept.iter().any(|name| path.ends_with(name)) {
                found.files.push(path);
            }
        }
        walk(state, &mut |path, meta| {
            if is_passing(path, meta) && !found.files.iter().any(|dir| path.starts_with(dir)) {
                found.files.push(path.to_owned());
            }
        });
        found.verdict()
    }

    /// Looks for processes that use the workspace `name` of `state`, and for its directory.
    ///
    /// # Errors
    /// All that was found.
    pub fn check_workspace(state: &Path, name: &str) -> Result<(), Self> {
        let workspace = state.join("workspaces").join(name);
        let files = workspace.exists().then(|| workspace.clone()).into_iter().collect();
        Self { processes: mentioning(&workspace), files }.verdict()
    }

    fn verdict(self) -> Result<(), Self> {
        if self.processes.is_empty() && self.files.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Process { pid, parent, arguments } in &self.processes {
            writeln!(f, "process {pid} (parent {parent}): {}", arguments.join(" "))?;
        }
        for file in &self.files {
            writeln!(f, "file {}", file.display())?;
        }
        Ok(())
    }
}

/// Whether a file is of the kind that exists only while something goes on.
fn is_passing(path: &Path, meta: &fs::Metadata) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kind = meta.file_type();
    let temporary = [".tmp", ".partial", ".part"].iter().any(|end| name.ends_with(end))
        || name.starts_with(".tmp");
    kind.is_socket() || kind.is_fifo() || temporary
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn walk(dir: &Path, look: &mut impl FnMut(&Path, &fs::Metadata)) {
    for path in children(dir) {
        let Ok(meta) = path.symlink_metadata() else { continue };
        look(&path, &meta);
        if meta.is_dir() {
            walk(&path, look);
        }
    }
}
