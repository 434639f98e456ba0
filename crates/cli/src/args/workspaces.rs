//! Commands for workspaces that last.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Deserialize;

use super::RunArgs;

// `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Make its root disk a copy of this ext4 image, instead of an OCI image: commands are run
    /// as root, with the usual PATH, unless flags say otherwise
    #[arg(long, value_name = "PATH")]
    pub(crate) rootfs: Option<PathBuf>,
    /// When it is started again after it ended without having been asked to
    #[arg(long, value_enum)]
    pub(crate) restart: Option<Restart>,
    /// Take what no flag says from this file
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}

/// When a workspace is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    /// Never
    Never,
    /// When it or its command failed
    OnFailure,
    /// Always
    Always,
}

// `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The workspace
    pub(crate) name: String,
    /// Wait until commands can be run in it
    #[arg(long)]
    pub(crate) wait: bool,
    /// Start it although image, kernel or guest agent are not what it was made with: its disk
    /// stays as it is, the others are taken as they are now
    #[arg(long)]
    pub(crate) accept_changes: bool,
    /// Another backend than its own, this time. One that was made with none, which is `auto`,
    /// takes that of MICROAGENT_SUPERVISOR
    #[arg(long, value_name = "WHAT")]
    pub(crate) supervisor: Option<String>,
}

// `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The workspace
    pub(crate) name: String,
    /// Over its environment; KEY alone takes the host's value; repeatable
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// User, uid, user:group or uid:gid
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working directory in the guest
    #[arg(long, short, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// Kill the command after so many seconds and exit with 124
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
    /// Give the command a terminal, which carries both its outputs (-it: to work at)
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Forward standard input. Without -i and -t, terminals on all three streams mean both
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

// `halt`.
#[derive(Debug, Args)]
pub(crate) struct HaltArgs {
    /// The workspaces
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// End it after so many seconds whatever it is doing; what it wrote last may be lost
    #[arg(long, value_name = "SECONDS")]
    pub(crate) force_after: Option<String>,
}

// `kill`, `pause`, `resume`.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The workspaces
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

// `delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The workspaces; that one is not there is fine
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Kill it first if it is not at rest
    #[arg(long, short)]
    pub(crate) force: bool,
}

// `status`.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The workspace
    pub(crate) name: String,
}

// `clone`.
#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// The workspace to copy; at rest
    pub(crate) from: String,
    /// The name of the copy
    pub(crate) to: String,
}

// `connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The workspace
    pub(crate) name: String,
    /// Type this line into the console and leave
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub(crate) send: Option<String>,
}

// `cp`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// What to copy: a path of the host, or NAME:/PATH in a workspace
    pub(crate) from: String,
    /// Where to: the other of the two; into it where it is a directory
    pub(crate) to: String,
}

// `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove all workspaces that are at rest as well
    #[arg(long)]
    pub(crate) resting: bool,
}

// `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The workspace
    pub(crate) name: String,
    /// Go on with what comes, until it is at rest
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// What its guest's kernel said, instead of what its commands printed
    #[arg(long, conflicts_with = "follow")]
    pub(crate) console: bool,
}

// `events`, `stats`.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// The workspace
    pub(crate) name: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub(crate) follow: bool,
}

// `shim`.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// Another backend than the workspace's own
    #[arg(long, value_name = "WHAT")]
    pub(crate) supervisor: Option<String>,
    /// The workspace's directory
    pub(crate) directory: PathBuf,
}
