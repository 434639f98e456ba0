//! `create`.

use std::sync::Arc;

use microagent_workspace::named::{self, CreateRequest, Created, Manifest, RestartPolicy};
use microagent_workspace::{Interrupts, RunIo, StateDir};
use serde_json::json;

use super::file;
use crate::args::{CreateArgs, Global, Restart, RunArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::progress::Shown;
use crate::run::{from_args, from_args_on_rootfs};
use crate::{signals, tools};

/// Runs `microagent create`.
pub(crate) async fn create(mut args: CreateArgs, global: &Global) -> Result<u8, Failure> {
    if let Some(path) = args.file.clone() {
        file::merge(&mut args, &path)?;
    }
    refuse(&args.run)?;
    refuse_beside_rootfs(&args)?;
    let state = StateDir::peek(tools::state_path(global)?)?;
    let config = tools::config(&state)?;
    // What it is for; its outputs are fetched whenever one likes.
    args.run.keep = true;
    let run = match args.rootfs.take() {
        Some(rootfs) => from_args_on_rootfs(&args.run, rootfs, &config, global)?,
        None => from_args(&args.run, &config, global)?,
    };
    let restart = match args.restart {
        None | Some(Restart::Never) => RestartPolicy::Never,
        Some(Restart::OnFailure) => RestartPolicy::OnFailure,
        Some(Restart::Always) => RestartPolicy::Always,
    };
    let signals = signals::forward().map_err(|e| Failure::other(&e, "cannot take signals"))?;
    let io = RunIo::without_streams(Interrupts::new(signals, None), Arc::new(Shown::new(global)));
    let tools = tools::tools(tools::state(global)?)?;
    let created = named::create(&CreateRequest { run, restart }, &tools, io).await?;
    tell(&created, global);
    Ok(0)
}

/// Flags of a run that say nothing about a workspace.
fn refuse(args: &RunArgs) -> Result<(), Failure> {
    let given = [
        (args.timeout.is_some(), "--timeout"),
        (args.keep, "--keep"),
        (args.rm, "--rm"),
        (args.tty, "--tty"),
        (args.interactive, "--interactive"),
        (args.trace, "--trace"),
        (args.dry_run, "--dry-run"),
        (args.disks.output_dir.is_some(), "--output-dir"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, flag)) => {
            Err(Failure::usage(format!("{flag} is for `microagent run`, not for `create`"))
                .with_hint("leave it out; `microagent exec` runs commands in the workspace"))
        }
        None => Ok(()),
    }
}

/// Flags that say how a disk is made of an image.
fn refuse_beside_rootfs(args: &CreateArgs) -> Result<(), Failure> {
    let Some(rootfs) = &args.rootfs else { return Ok(()) };
    let given = [
        (args.run.image.is_some(), "--image"),
        (args.run.size_mib.is_some(), "--size-mib"),
        (args.run.mke2fs.is_some(), "--mke2fs"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(Failure::usage(format!(
            "--rootfs {} is the root disk as it is, and {flag} says how one is made of an image",
            rootfs.display()
        ))
        .with_hint("give one of the two")),
        None => Ok(()),
    }
}

fn tell(created: &Created, global: &Global) {
    let Manifest { name, origin, resources, command, verification, .. } = &created.manifest;
    if !global.json {
        return print(name.as_str());
    }
    print_json(&json!({
        "workspace": name,
        "state": "created",
        "image": origin.image(),
        "resources": resources,
        "command": command,
        "rootfs_path": created.disk,
        "kernel_path": verification.kernel.path,
    }));
}
