//! `clone` and `prune`.

use microagent_workspace::named::{self, Prune, Pruned};
use serde_json::json;

use super::name;
use crate::args::{CloneArgs, Global, PruneArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::tools;

/// Runs `microagent clone`.
pub(crate) async fn clone(args: CloneArgs, global: &Global) -> Result<u8, Failure> {
    let (from, to) = (name(&args.from)?, name(&args.to)?);
    let tools = tools::tools(tools::state(global)?)?;
    let manifest = named::clone(&tools, &from, &to).await?;
    if global.json {
        print_json(&json!({ "workspace": to, "state": "created", "manifest": manifest }));
    } else {
        print(to.as_str());
    }
    Ok(0)
}

/// Runs `microagent prune`.
pub(crate) async fn prune(args: PruneArgs, global: &Global) -> Result<u8, Failure> {
    let what = if args.resting { Prune::Resting } else { Prune::Remains };
    let tools = tools::tools(tools::state(global)?)?;
    let Pruned { recovered, removed, failed } = named::prune(&tools, what).await?;
    let failed: Vec<_> = failed.into_iter().map(|(name, e)| (name, Failure::from(e))).collect();
    if global.json {
        let failed: Vec<_> =
            failed.iter().map(|(name, e)| json!({ "workspace": name, "error": e })).collect();
        print_json(&json!({ "recovered": recovered, "removed": removed, "failed": failed }));
    } else {
        recovered.iter().for_each(|name| print(&format!("recovered {name}")));
        removed.iter().for_each(|name| print(&format!("removed {name}")));
        failed.iter().for_each(|(_, failure)| failure.print_text());
    }
    Ok(failed.first().map_or(0, |(_, failure)| failure.exit_code()))
}
