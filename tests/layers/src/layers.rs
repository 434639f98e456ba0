//! The table of layers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;

use crate::root;

/// `ci/layers.toml`. Package names in it are without `microagent-`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// What each package may use.
    pub edges: BTreeMap<String, BTreeSet<String>>,
    /// Packages that hold nothing but tests.
    pub tests: TestPackages,
    /// What each package's own tests may use in addition.
    #[serde(default)]
    pub dev: BTreeMap<String, BTreeSet<String>>,
    /// What must not be anywhere below a package.
    pub never: Vec<Never>,
    /// Where `unsafe` may be written.
    #[serde(rename = "unsafe")]
    pub unsafe_places: Vec<UnsafePlace>,
}

/// Packages that hold nothing but tests: they may use anything, and nothing may use them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestPackages {
    /// Their names.
    pub packages: BTreeSet<String>,
}

/// What must not be anywhere below a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Never {
    /// The package.
    pub package: String,
    /// Names of packages of any origin, or of their beginning and `*`.
    pub of: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A file or folder in which `unsafe` may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnsafePlace {
    /// Relative to the root of the workspace.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl Layers {
    /// Reads the table.
    ///
    /// # Errors
    /// If it is not there or holds anything unknown.
    pub fn read() -> anyhow::Result<Self> {
        let path = root().join("ci/layers.toml");
        let text = std::fs::read_to_string(&path).context("ci/layers.toml")?;
        toml::from_str(&text).context("ci/layers.toml")
    }
}

impl Never {
    /// Which of its patterns matches a package's full name.
    pub fn pattern_for(&self, name: &str) -> Option<&str> {
        self.of.iter().map(String::as_str).find(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        })
    }
}
