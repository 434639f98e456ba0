//! The Rust files of this workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::root;

/// A Rust file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root of the workspace.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// All Rust files under `crates`, `backends` and `tests`, in order of their paths.
///
/// # Errors
/// What reading them meets.
pub fn sources() -> anyhow::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    for folder in ["crates", "backends", "tests"] {
        collect(&root, &root.join(folder), &mut found)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden || path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let path = path.strip_prefix(root)?.to_owned();
            found.push(Source { path, text });
        }
    }
    Ok(())
}

impl Source {
    /// Its lines with their numbers from 1, without what follows `//`. A `//` within a
    /// string cuts a line short; what is searched for here does not stand in strings.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or("")))
    }

    /// The comment at its beginning that describes the module.
    pub fn module_doc(&self) -> String {
        let lines = self.text.lines().take_while(|line| line.starts_with("//!"));
        lines.collect::<Vec<_>>().join("\n")
    }
}
