//! `list` and `status`.

use microagent_workspace::StateDir;
use microagent_workspace::named::{self, Listed, OriginRecord, Standing, Told, Whole};
use serde_json::{Value, json};

use super::{name, object};
use crate::args::{Global, NameArgs};
use crate::failure::Failure;
use crate::output::{print, print_json, printable, table};
use crate::tools;

/// Runs `microagent list`.
pub(crate) fn list(global: &Global) -> Result<u8, Failure> {
    let state = StateDir::peek(tools::state_path(global)?)?;
    let all = named::list(&state)?;
    if global.json {
        let objects: Vec<_> = all.iter().map(listed).collect();
        print_json(&json!({ "workspaces": objects }));
        return Ok(0);
    }
    if global.quiet {
        all.iter().for_each(|listed| print(listed.name.as_str()));
        return Ok(0);
    }
    let rows = all.into_iter().map(row).collect();
    print(&table(&["NAME", "STATE", "SINCE", "BACKEND", "IMAGE"], rows));
    Ok(0)
}

/// Runs `microagent status`.
pub(crate) fn status(args: NameArgs, global: &Global) -> Result<u8, Failure> {
    let name = name(&args.name)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let whole = named::status(&state, &name)?;
    if global.json {
        print_json(&described(&whole));
        return Ok(0);
    }
    let Whole { standing, manifest } = &whole;
    let command = manifest.command.as_ref().map_or("-".to_owned(), shell_words::join);
    let resources = &manifest.resources;
    let mut rows = vec![
        ["name", name.as_str()].map(str::to_owned),
        ["state", standing.state.name()].map(str::to_owned),
        ["since", &standing.since].map(str::to_owned),
        made_of(&manifest.origin),
        ["command", &printable(&command)].map(str::to_owned),
        [
            "resources",
            &format!(
                "{} MiB, {} vCPUs, disk {} MiB",
                resources.memory_mib, resources.cpus, resources.size_mib
            ),
        ]
        .map(str::to_owned),
        ["backend", standing.backend.as_deref().unwrap_or("-")].map(str::to_owned),
        ["kernel", &manifest.verification.kernel.path.display().to_string()].map(str::to_owned),
        ["created", &manifest.created_at].map(str::to_owned),
    ];
    if let Some(Told { message, .. }) = &standing.error {
        rows.push(["error", &printable(message)].map(str::to_owned));
    }
    print(&table(&["WORKSPACE", ""], rows.into_iter().map(Vec::from).collect()));
    Ok(0)
}

fn made_of(origin: &OriginRecord) -> [String; 2] {
    let (what, text) = match origin {
        OriginRecord::Image(image) => ("image", format!("{origin} ({})", image.digest)),
        OriginRecord::Rootfs { .. } => ("rootfs", format!("copied from {origin}")),
    };
    [what.to_owned(), printable(&text)]
}

fn row(listed: Listed) -> Vec<String> {
    let Listed { name, found } = listed;
    match found {
        Ok(Whole { standing: Standing { state, since, backend, .. }, manifest }) => vec![
            name.to_string(),
            state.to_string(),
            since,
            backend.unwrap_or_else(|| "-".into()),
            printable(&manifest.origin.to_string()),
        ],
        Err(told) => {
            let dash = || "-".to_owned();
            vec![name.to_string(), "unreadable".into(), dash(), dash(), printable(&told.message)]
        }
    }
}

fn listed(listed: &Listed) -> Value {
    match &listed.found {
        Ok(whole) => described(whole),
        Err(told) => json!({ "workspace": listed.name, "state": null, "error": told }),
    }
}

fn described(whole: &Whole) -> Value {
    let Whole { standing, manifest } = whole;
    let mut object = object(&manifest.name, standing);
    if let Some(object) = object.as_object_mut() {
        object.insert("manifest".into(), json!(manifest));
    }
    object
}
