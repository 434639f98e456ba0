//! Outputs of workspaces: read from the disk of one that is at rest, asked of the agent of one
//! that is up.

use std::path::{Path, PathBuf};

use microagent_rootfs::{Ext4, Follow, NodeKind, ReadError};
use serde::{Deserialize, Serialize};

use crate::directory::{MANIFEST, WorkspaceDir};
use crate::error::chain;
use crate::named::{Registered, copy_out, ready};
use crate::outputs::{Seen, check_free, see};
use crate::{Interrupts, Name, OutputRequest, ReportedOutput, RunError, StateDir};

/// An output of a workspace. Its JSON form is part of the command-line interface.
#[derive(Debug, Serialize)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Its path in the guest.
    pub path: String,
    /// `file`, `directory` or what else it is; none if it is not there.
    pub kind: Option<&'static str>,
    /// Length of a file, in bytes.
    pub size: Option<u64>,
}

/// What is read of a manifest here.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    outputs: Vec<OutputRequest>,
}

/// A kept workspace with its disk open.
struct Kept {
    disk: Ext4,
    image: PathBuf,
    outputs: Vec<OutputRequest>,
    _directory: WorkspaceDir,
}

/// Lists the outputs that a workspace declares, as they are now.
///
/// # Errors
/// Where there is no such workspace, it is in use, its disk cannot be read, or its agent cannot
/// be asked.
pub async fn artifacts(state: &StateDir, name: &Name) -> Result<Vec<Artifact>, RunError> {
    let workspace = Registered::find(state, name)?;
    if workspace.standing()?.state.is_resting() {
        return at_rest(state, name);
    }
    let attached = ready(state, name).await?;
    let mut list = Vec::new();
    for (id, output) in (1..).zip(declared(&workspace)?) {
        let seen = see(attached.session(), id, &output.path).await;
        let path = format!("{name}:{}", output.path);
        list.push(Artifact::seen(output, seen.map_err(|reason| RunError::Asked { path, reason })?));
    }
    Ok(list)
}

impl Artifact {
    fn seen(output: OutputRequest, seen: Seen) -> Self {
        let (kind, size) = match seen {
            Seen::Nothing => (None, None),
            Seen::File { size } => (Some(NodeKind::File.word()), Some(size)),
            Seen::Directory => (Some(NodeKind::Directory.word()), None),
            Seen::Other => (Some("other"), None),
        };
        Self { name: output.name.to_string(), path: output.path, kind, size }
    }
}

fn at_rest(state: &StateDir, name: &Name) -> Result<Vec<Artifact>, RunError> {
    let kept = Kept::open(state, name)?;
    let one = |output: &OutputRequest| -> Result<Artifact, RunError> {
        let node = there(kept.disk.lookup(output.path.as_bytes(), Follow::Yes));
        let node = node.map_err(|source| RunError::Read { image: kept.image.clone(), source })?;
        Ok(Artifact {
            name: output.name.to_string(),
            path: output.path.clone(),
            kind: node.as_ref().map(|node| node.kind().word()),
            size: node.filter(|n| n.kind() == NodeKind::File).map(|node| node.meta().size),
        })
    };
    kept.outputs.iter().map(one).collect()
}

/// What was found; that there is nothing is no failure, all else is.
fn there<T>(found: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ReadError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies outputs of a workspace, all or those that are named, into a directory, without
/// the permission bits in `umask`: from its disk, or through its agent while it is up.
///
/// # Errors
/// As [`artifacts`]; `Usage` for names that it does not declare, and where one is in the way.
/// What cannot be had of an output stands in its report.
pub async fn get_artifacts(
    state: &StateDir,
    name: &Name,
    wanted: &[String],
    to: Destination<'_>,
    interrupts: &mut Interrupts,
) -> Result<Vec<ReportedOutput>, RunError> {
    let Destination { directory, umask } = to;
    let workspace = Registered::find(state, name)?;
    let outputs = chosen(declared(&workspace)?, name, wanted)?;
    std::fs::create_dir_all(directory)
        .map_err(|e| RunError::state(format!("cannot make {}", directory.display()), e))?;
    check_free(directory, &outputs)?;
    let mut reports = Vec::with_capacity(outputs.len());
    for output in outputs {
        let place = directory.join(output.name.as_str());
        let got = copy_out(state, name, &output.path, &place, umask, interrupts).await;
        let got = match got {
            Err(error @ (RunError::Interrupted(_) | RunError::InUse(_))) => return Err(error),
            got => got.map_err(|e| chain(&e)),
        };
        reports.push(output.report(place, got));
    }
    Ok(reports)
}

/// Where outputs are put.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// Each under its name.
    pub directory: &'a Path,
    /// Permission bits that they give to nobody.
    pub umask: u32,
}

fn chosen(
    outputs: Vec<OutputRequest>,
    name: &Name,
    wanted: &[String],
) -> Result<Vec<OutputRequest>, RunError> {
    let unknown = wanted.iter().find(|name| !outputs.iter().any(|o| o.name.as_str() == **name));
    if let Some(unknown) = unknown {
        let message = format!("workspace {name} has no output '{unknown}'");
        let names: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
        let hint = format!("it has: {}", names.join(", "));
        return Err(RunError::Usage { message, hint: Some(hint) });
    }
    let is_wanted = |output: &OutputRequest| {
        wanted.is_empty() || wanted.iter().any(|name| name == output.name.as_str())
    };
    Ok(outputs.into_iter().filter(is_wanted).collect())
}

fn declared(workspace: &Registered) -> Result<Vec<OutputRequest>, RunError> {
    let file = workspace.file(MANIFEST);
    let failed = |e| RunError::state(format!("cannot read {}", file.display()), e);
    let text = std::fs::read(&file).map_err(failed)?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| failed(e.into()))?;
    Ok(manifest.outputs)
}

impl Kept {
    fn open(state: &StateDir, name: &Name) -> Result<Self, RunError> {
        let workspace = Registered::find(state, name)?;
        workspace.check_rests()?;
        let directory = WorkspaceDir::open(state, name)?;
        let outputs = declared(&workspace)?;
        let image = directory.file("rootfs.ext4");
        let disk =
            Ext4::open(&image).map_err(|source| RunError::Read { image: image.clone(), source })?;
        Ok(Self { disk, image, outputs, _directory: directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        assert!(matches!(there(Ok(1)), Ok(Some(1))));
        assert!(matches!(there::<()>(Err(ReadError::NotFound("/x".into()))), Ok(None)));
        for error in [
            ReadError::Corrupt("twice".into()),
            ReadError::Limit { what: "names", limit: 2 },
            ReadError::Unsupported("block maps".into()),
        ] {
            assert!(there::<()>(Err(error)).is_err());
        }
    }
}
