//! `artifacts`.

use std::path::Path;

use microagent_workspace::{Destination, Interrupts, Name, StateDir, artifacts, get_artifacts};

use crate::args::{ArtifactsCommand, Global};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::run::told_outputs;
use crate::{signals, tools, umask};

pub(crate) async fn run(command: ArtifactsCommand, global: &Global) -> Result<u8, Failure> {
    let state = StateDir::peek(tools::state_path(global)?)?;
    match command {
        ArtifactsCommand::List { workspace } => list(&state, &name(&workspace)?, global).await,
        ArtifactsCommand::Get { workspace, outputs, to } => {
            get(&state, &name(&workspace)?, &outputs, &to, global).await
        }
    }
}

fn name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|e| Failure::usage(e.to_string()))
}

async fn list(state: &StateDir, name: &Name, global: &Global) -> Result<u8, Failure> {
    let list = artifacts(state, name).await?;
    if global.json {
        print_json(&serde_json::json!({ "workspace": name, "outputs": list }));
        return Ok(0);
    }
    let rows = list.into_iter().map(|artifact| {
        let kind = artifact.kind.unwrap_or("missing").to_owned();
        let size = artifact.size.map_or("-".to_owned(), |size| size.to_string());
        vec![artifact.name, kind, size, artifact.path]
    });
    print(&table(&["NAME", "KIND", "SIZE", "PATH"], rows.collect()));
    Ok(0)
}

async fn get(
    state: &StateDir,
    name: &Name,
    wanted: &[String],
    to: &Path,
    global: &Global,
) -> Result<u8, Failure> {
    let signals = signals::forward().map_err(|e| Failure::other(&e, "cannot take signals"))?;
    let mut interrupts = Interrupts::new(signals, None);
    let to = Destination { directory: to, umask: umask::callers() };
    let got = get_artifacts(state, name, wanted, to, &mut interrupts).await?;
    let failure = told_outputs(&got, global);
    if global.json {
        print_json(&serde_json::json!({ "outputs": got, "error": failure }));
    } else if let Some(failure) = &failure {
        failure.print_text();
    }
    Ok(failure.map_or(0, |failure| failure.exit_code()))
}
