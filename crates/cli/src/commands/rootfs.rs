//! `rootfs`.

use std::sync::Arc;

use microagent_image::{ImageError, Source};
use microagent_machine::MiB;
use microagent_workspace::{RootfsRequest, RunError, StateDir, build_rootfs};

use super::rootfs_read;
use crate::args::{Global, RootfsBuildArgs, RootfsCommand};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::progress::Shown;
use crate::tools;

pub(crate) async fn run(command: RootfsCommand, global: &Global) -> Result<u8, Failure> {
    match command {
        RootfsCommand::Build(args) => build(args, global).await,
        RootfsCommand::Ls(args) => rootfs_read::ls(&args, global),
        RootfsCommand::Cat(args) => rootfs_read::cat(&args),
        RootfsCommand::Extract(args) => rootfs_read::extract(&args, global),
    }
}

async fn build(args: RootfsBuildArgs, global: &Global) -> Result<u8, Failure> {
    let config = tools::config(&StateDir::peek(tools::state_path(global)?)?)?;
    let request = request(args, config.insecure_registries)?;
    let state = tools::state(global)?;
    let built = build_rootfs(request, state, Arc::new(Shown::new(global))).await?;
    if global.json {
        print_json(&built);
    } else {
        print(&format!("{}  {}", built.sha256, built.path.display()));
    }
    Ok(0)
}

fn request(args: RootfsBuildArgs, mut insecure: Vec<String>) -> Result<RootfsRequest, Failure> {
    if args.arch.as_deref().is_some_and(|arch| arch != "x86_64" && arch != "amd64") {
        let arch = args.arch.unwrap_or_default();
        return Err(Failure::usage(format!("--arch {arch}: only x86_64 can be built here")));
    }
    let source: Source =
        args.image.parse().map_err(|e: ImageError| Failure::from(RunError::from(e)))?;
    let mutable = matches!(source, Source::Registry(_)) && source.pinned().is_none();
    if mutable && !args.allow_mutable {
        return Err(Failure::usage(format!("'{}' is a tag, which can move", args.image))
            .with_hint("name the image by digest (name@sha256:...), or add --allow-mutable"));
    }
    insecure.extend(args.insecure_registry);
    Ok(RootfsRequest {
        reference: args.image,
        source,
        insecure_registries: insecure,
        out: args.out,
        size: args.size_mib.map(MiB),
        mke2fs: args.mke2fs,
    })
}
