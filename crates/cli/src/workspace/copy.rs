//! `cp`.

use std::path::Path;
use std::sync::Arc;

use microagent_workspace::named::{copy_in, copy_out};
use microagent_workspace::{Interrupts, RunIo, StateDir};
use serde_json::json;

use super::name;
use crate::args::{CopyArgs, Global};
use crate::failure::Failure;
use crate::output::print_json;
use crate::progress::Shown;
use crate::{signals, tools, umask};

/// Runs `microagent cp`.
pub(crate) async fn cp(args: CopyArgs, global: &Global) -> Result<u8, Failure> {
    let state = StateDir::peek(tools::state_path(global)?)?;
    let signals = signals::forward().map_err(|e| Failure::other(&e, "cannot take signals"))?;
    let mut io =
        RunIo::without_streams(Interrupts::new(signals, None), Arc::new(Shown::new(global)));
    let left_out = match (in_workspace(&args.from), in_workspace(&args.to)) {
        (Some((workspace, path)), None) => {
            let workspace = name(workspace)?;
            let (to, mask) = (Path::new(&args.to), umask::callers());
            copy_out(&state, &workspace, path, to, mask, &mut io.interrupts).await?.left_out
        }
        (None, Some((workspace, path))) => {
            let from = Path::new(&args.from);
            let workspace = name(workspace)?;
            copy_in(&tools::tools(state)?, &workspace, from, path, &mut io).await?;
            Vec::new()
        }
        _ => {
            return Err(Failure::usage("one of the two must be NAME:/PATH in a workspace")
                .with_hint("microagent cp box:/etc/passwd . ; microagent cp ./file box:/root/"));
        }
    };
    if global.json {
        print_json(&json!({ "from": args.from, "to": args.to, "left_out": left_out }));
    } else {
        left_out.iter().for_each(|what| crate::output::say(&format!("left out {what}")));
    }
    Ok(0)
}

/// `NAME:/PATH`; a path of the host with a colon in it is written `./...`.
fn in_workspace(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(name, path)| !name.contains('/') && path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_and_paths_are_told_apart() {
        assert_eq!(in_workspace("box:/etc"), Some(("box", "/etc")));
        for path in ["box", "./box:/etc", "/a:/b", "box:etc", ""] {
            assert_eq!(in_workspace(path), None, "{path}");
        }
    }
}
