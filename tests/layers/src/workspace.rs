//! What `cargo metadata` says about the packages of this workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

const PREFIX: &str = "microagent-";

/// The packages of this workspace and who uses whom; names without `microagent-`.
#[derive(Debug)]
pub struct Workspace {
    /// Ordinary and build dependencies of each package on others of the workspace.
    pub edges: BTreeMap<String, BTreeSet<String>>,
    /// Dependencies of each package's tests on others of the workspace.
    pub dev: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    /// Asks cargo, without resolving anything from outside.
    ///
    /// # Errors
    /// What running cargo meets, and a package whose name lacks the prefix.
    pub fn read() -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root().join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata")?;
        let mut workspace = Self { edges: BTreeMap::new(), dev: BTreeMap::new() };
        for package in metadata.workspace_packages() {
            let name = short_name(&package.name)
                .with_context(|| format!("package {} is not named {PREFIX}*", package.name))?;
            let edges = workspace.edges.entry(name.to_owned()).or_default();
            let dev = workspace.dev.entry(name.to_owned()).or_default();
            for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
                let to = if dependency.kind == DependencyKind::Development {
                    &mut *dev
                } else {
                    &mut *edges
                };
                to.extend(short_name(&dependency.name).map(str::to_owned));
            }
        }
        Ok(workspace)
    }

    /// Every package of the workspace that is below `package`, however deep.
    pub fn below(&self, package: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.edges.get(&name).into_iter().flatten() {
                if found.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        found
    }
}

/// A package's name without `microagent-`; `None` if it does not begin so.
pub fn short_name(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
