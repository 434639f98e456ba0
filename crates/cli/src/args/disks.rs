//! Disks beside the root disk, and files that leave the guest.

use std::path::PathBuf;

use clap::{Args, Subcommand};

// Flags of disks beside the root disk.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DiskArgs {
    /// Attach an existing ext4 image: its name, its path, where it is mounted and whether the
    /// guest may write to it; repeatable
    #[arg(long, value_name = "NAME=PATH:/MOUNT:ro|rw")]
    pub(crate) disk: Vec<String>,
    /// Make a disk of a tar (plain, gzip, zstd) or of a directory of the host as it is now, its
    /// files root's unless their owners are kept; repeatable
    #[arg(long, value_name = "NAME=PATH:/MOUNT:ro|rw[,keep-owner]")]
    pub(crate) bundle: Vec<String>,
    /// Mount a named volume, an ext4 image or a tar; `-v` before it means the same; repeatable
    #[arg(long, value_name = "SRC:/MOUNT[:ro|rw]")]
    pub(crate) volume: Vec<String>,
    /// A file or directory of the guest to be fetched when the command has ended: a name and an
    /// absolute path; repeatable
    #[arg(long, value_name = "NAME=/PATH")]
    pub(crate) output: Vec<String>,
    /// Where outputs are put, each under its name
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VolumeCommand {
    /// Make an empty volume
    Create {
        /// Its name: 1 to 20 characters of a-z, A-Z, 0-9, '-' and '_'
        name: String,
        /// Size in MiB [default: 1024]
        #[arg(long, value_name = "MIB")]
        size_mib: Option<u32>,
    },
    /// List the volumes
    #[command(visible_alias = "ls")]
    List,
    /// Show what is known of a volume
    Inspect {
        /// Its name
        name: String,
    },
    /// Remove volumes with all that is in them
    Rm {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ArtifactsCommand {
    /// List the outputs of a workspace
    #[command(visible_alias = "ls")]
    List {
        /// The workspace
        workspace: String,
    },
    /// Copy outputs of a workspace
    Get {
        /// The workspace
        workspace: String,
        /// Names of outputs [default: all]
        outputs: Vec<String>,
        /// Where to put them, each under its name
        #[arg(long, value_name = "DIR", default_value = ".")]
        to: PathBuf,
    },
}

// A path in an image.
#[derive(Debug, Args)]
pub(crate) struct ImagePath {
    /// The ext4 image; nothing may use it
    pub(crate) image: PathBuf,
    /// The path in it
    pub(crate) path: String,
}

// `rootfs ls`.
#[derive(Debug, Args)]
pub(crate) struct RootfsLsArgs {
    /// The ext4 image; nothing may use it
    pub(crate) image: PathBuf,
    /// The path in it
    #[arg(default_value = "/")]
    pub(crate) path: String,
}

// `rootfs extract`.
#[derive(Debug, Args)]
pub(crate) struct RootfsExtractArgs {
    #[command(flatten)]
    pub(crate) from: ImagePath,
    /// What to make of it; it must not exist
    pub(crate) to: PathBuf,
}
