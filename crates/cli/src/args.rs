//! The command line as it was written.
//!
//! Of all commands only the one that is called is made: the whole tree is half a megabyte, which
//! every call would pay for. So what a command says of itself stands at its variant, structs of
//! arguments have plain comments, which no help shows, and flags of every command have their place
//! in the order by number.

mod disks;
mod measuring;
mod workspaces;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
pub(crate) use disks::{
    ArtifactsCommand, DiskArgs, ImagePath, RootfsExtractArgs, RootfsLsArgs, VolumeCommand,
};
pub(crate) use measuring::{
    BackendsCommand, CompareArgs, DoctorArgs, MeasureArgs, PerfArgs, PerfCommand,
};
pub(crate) use workspaces::{
    CloneArgs, ConnectArgs, CopyArgs, CreateArgs, DeleteArgs, ExecArgs, FollowArgs, HaltArgs,
    LogsArgs, NameArgs, NamesArgs, PruneArgs, Restart, ShimArgs, StartArgs,
};

/// Run OCI images in microVMs.
#[derive(Debug, Parser)]
#[command(name = "microagent", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Where everything is kept [default: ~/.microagent]
    #[arg(
        long,
        global = true,
        display_order = 901,
        value_name = "PATH",
        env = "MICROAGENT_STATE_DIR"
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// No progress
    #[arg(long, short, global = true, display_order = 902)]
    pub(crate) quiet: bool,
    /// Reasons, stages and the guest's console
    #[arg(
        long,
        short,
        global = true,
        display_order = 903,
        conflicts_with = "quiet",
        overrides_with = "verbose"
    )]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Run a command from an image in a microVM of its own
    Run(Box<RunArgs>),
    /// Make a workspace that lasts, from an image; nothing is started
    Create(Box<CreateArgs>),
    /// Start a workspace
    Start(StartArgs),
    /// Run a command in a workspace that is up
    Exec(ExecArgs),
    /// See the shared console of a workspace that is up; Ctrl-] or Ctrl-P Ctrl-Q leave it
    Connect(ConnectArgs),
    /// End workspaces in order: SIGTERM, ten seconds, power off
    #[command(visible_alias = "stop")]
    Halt(HaltArgs),
    /// End workspaces at once, as a loss of power would
    Kill(NamesArgs),
    /// Stop the vCPUs of workspaces for a while
    Pause(NamesArgs),
    /// Let the vCPUs of paused workspaces go on
    Resume(NamesArgs),
    /// Halt a workspace and start it again
    Restart(StartArgs),
    /// Wait until a workspace is at rest; the exit code is that of its command
    Wait(NameArgs),
    /// Show what came of a workspace's command
    Result(NameArgs),
    /// Print what a workspace's setup and command printed
    Logs(LogsArgs),
    /// Print what happened to a workspace, one JSON object a line
    Events(FollowArgs),
    /// Show what a workspace takes of the host
    Stats(FollowArgs),
    /// Copy files into a workspace or out of it; into one that is at rest by booting it for that
    Cp(CopyArgs),
    /// Make a workspace of another, with a copy of its disk
    Clone(CloneArgs),
    /// Remove what killed commands and shims left
    Prune(PruneArgs),
    /// Remove workspaces with all that they hold
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
    /// List all workspaces; with --quiet their names alone
    #[command(visible_aliases = ["ls", "ps"])]
    List,
    /// Show how a workspace is and what it was made of
    #[command(visible_alias = "inspect")]
    Status(NameArgs),
    /// Fetch, list and prune images
    #[command(subcommand, arg_required_else_help = true)]
    Image(ImageCommand),
    /// Build root disks and read files back out of disks
    #[command(subcommand, arg_required_else_help = true)]
    Rootfs(RootfsCommand),
    /// Make, list and remove named volumes
    #[command(subcommand, arg_required_else_help = true)]
    Volume(VolumeCommand),
    /// List and copy outputs of kept workspaces
    #[command(subcommand, arg_required_else_help = true)]
    Artifacts(ArtifactsCommand),
    /// List, install, build and verify guest kernels
    #[command(subcommand, arg_required_else_help = true)]
    Kernel(KernelCommand),
    /// Show what each backend can do here
    #[command(subcommand, arg_required_else_help = true)]
    Backends(BackendsCommand),
    /// Look for what keeps machines from running here, or makes them slow
    Doctor(DoctorArgs),
    /// Run the same command on several backends and compare times, memory and output
    Compare(Box<CompareArgs>),
    /// Measure how long machines take to boot and what memory they take
    #[command(subcommand, arg_required_else_help = true)]
    Perf(PerfCommand),
    /// Show the resource profiles
    Profiles,
    /// Print a completion script
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Show versions
    Version,
    /// Not built yet
    #[command(hide = true)]
    Snapshot {
        /// Anything
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Own the machine of a started workspace
    #[command(hide = true)]
    Shim(ShimArgs),
    /// Answer one request of the supervisor protocol with a backend that is built in
    #[command(hide = true)]
    SuperviseBackend {
        /// Its name, with options after a colon
        name: String,
    },
    /// Answer one request of the supervisor protocol with a plugin
    #[command(hide = true)]
    SupervisePlugin {
        /// The shared object
        path: PathBuf,
    },
}

// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = RUN_HELP)]
pub(crate) struct RunArgs {
    /// OCI reference, tag or digest; also oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE
    #[arg(long, value_name = "REF")]
    pub(crate) image: Option<String>,
    /// Run this line as `<shell> -c <command>`; the image's entrypoint is not used
    #[arg(long, value_name = "COMMAND", conflicts_with = "entrypoint")]
    pub(crate) exec: Option<String>,
    /// The image (unless --image is given), then arguments for its entrypoint
    #[arg(trailing_var_arg = true, value_name = "IMAGE|ARG")]
    pub(crate) positional: Vec<String>,
    /// Run this line before the command; repeatable, the first failure ends the run. A workspace
    /// runs them once, at the first start that they all survive
    #[arg(long, value_name = "COMMAND")]
    pub(crate) setup: Vec<String>,
    /// Shell words that replace the image's entrypoint and clear its default arguments
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// The guest's shell for --exec and --setup [default: /bin/sh]
    #[arg(long, value_name = "PATH")]
    pub(crate) shell: Option<String>,
    /// The guest's host name [default: made of the workspace's name]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) hostname: Option<String>,
    /// Over the image's environment; KEY alone takes the host's value; repeatable
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Lines of KEY=VALUE or KEY; repeatable; --env goes over it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// User, uid, user:group or uid:gid; names are looked up in the image
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working directory in the guest
    #[arg(long, short, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// Name of the workspace [default: run-<adjective>-<noun>-<4 hex>]
    #[arg(long, visible_alias = "id", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Guest kernel: a vmlinux or bzImage
    #[arg(long, value_name = "PATH", env = "MICROAGENT_KERNEL")]
    pub(crate) kernel: Option<PathBuf>,
    /// Resources by name: tiny, small, medium, large; single flags go over it
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Guest memory in MiB, or with a suffix K, M, G (binary) [default: 512]
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<String>,
    /// Number of vCPUs, no more than the host has [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// Size of the root disk in MiB [default: smallest whole GiB that leaves 512 MiB free]
    #[arg(long, value_name = "MIB")]
    pub(crate) size_mib: Option<u32>,
    /// Kill it after so many seconds and exit with 124
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
    /// Keep the workspace afterwards; its name is printed on standard error
    #[arg(long, conflicts_with = "rm")]
    pub(crate) keep: bool,
    /// Remove the workspace afterwards; the default
    #[arg(long)]
    pub(crate) rm: bool,
    /// Build the root disk with this mke2fs
    #[arg(long, value_name = "PATH")]
    pub(crate) mke2fs: Option<PathBuf>,
    /// Channel from the guest's vsock port P to a TCP target of the host; the run does not go
    /// on as if nothing was if the target is gone. With `,listen` also at the guest's
    /// 127.0.0.1:P
    #[arg(long, value_name = "P=HOST:PORT[,listen]")]
    pub(crate) mediation: Option<String>,
    /// Start although the mediation's target is not there, and go on without it
    #[arg(long, requires = "mediation")]
    pub(crate) mediation_optional: bool,
    #[command(flatten)]
    pub(crate) disks: DiskArgs,
    /// Network: user, by sockets of this user through passt, or isolated, which is no network
    /// device [default: user]
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Open a port of the host that leads to one of the guest: [IP:]HOST:GUEST[/tcp|udp], IP is
    /// 127.0.0.1 unless given; repeatable
    #[arg(long, short, value_name = "PORTS")]
    pub(crate) publish: Vec<String>,
    /// Backend: auto, kvm, cloud-hypervisor, qemu[:accel=kvm|tcg,net=slirp], or the path of a
    /// hypervisor, a plugin (*.so) or a supervisor executable
    #[arg(long, value_name = "WHAT", env = "MICROAGENT_SUPERVISOR")]
    pub(crate) supervisor: Vec<String>,
    /// When to ask the registry
    #[arg(long, value_enum, default_value = "missing")]
    pub(crate) pull: Pull,
    /// Speak to this registry without TLS (loopback may always); repeatable
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
    /// linux/amd64; any other is refused
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Give the command a terminal, which carries both its outputs (-it: to work at)
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Forward standard input. Without -i and -t, terminals on all three streams mean both
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Print how long each step took, on standard error
    #[arg(long)]
    pub(crate) trace: bool,
    /// Print what would be done and make nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const RUN_HELP: &str = "\
Exit status: the command's own; 128+n if signal n ended it; 2 usage; 124 timeout;
125 microagent or the hypervisor failed; 126, 127 the command cannot be run, is not there.

Examples:
  microagent run --image debian:stable --exec 'uname -a'
  microagent run -e KEY=value alpine:3 ls -l /";

/// When to ask the registry.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Pull {
    /// Always, so that a moved tag is seen
    Always,
    /// Only for what is not here
    Missing,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageCommand {
    /// Fetch an image
    Pull {
        /// OCI reference or local archive, as for `run`
        reference: String,
        /// Speak to this registry without TLS; repeatable
        #[arg(long, value_name = "HOST")]
        insecure_registry: Vec<String>,
    },
    /// List the images that are here
    #[command(visible_alias = "ls")]
    List,
    /// Remove blobs and root disks that no image here needs
    Prune {
        /// Remove every image
        #[arg(long, short)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum RootfsCommand {
    /// Build a root disk from an image: same digest and flags, same bytes
    Build(RootfsBuildArgs),
    /// List a directory of an ext4 image
    Ls(RootfsLsArgs),
    /// Print a file of an ext4 image
    Cat(ImagePath),
    /// Copy a file or directory out of an ext4 image
    Extract(RootfsExtractArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RootfsBuildArgs {
    /// OCI reference by digest, or a local archive
    #[arg(long, value_name = "REF")]
    pub(crate) image: String,
    /// The file to write
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// Size in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) size_mib: Option<u32>,
    /// Architecture: x86_64
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// Build it with this mke2fs
    #[arg(long, value_name = "PATH")]
    pub(crate) mke2fs: Option<PathBuf>,
    /// Allow a tag, which can mean another image tomorrow
    #[arg(long)]
    pub(crate) allow_mutable: bool,
    /// Speak to this registry without TLS; repeatable
    #[arg(long, value_name = "HOST")]
    pub(crate) insecure_registry: Vec<String>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum KernelCommand {
    /// List the kernels that are here
    #[command(visible_alias = "ls")]
    List,
    /// Install a kernel from a file
    Install {
        /// The file
        #[arg(long, value_name = "PATH")]
        from: PathBuf,
        /// What its SHA-256 must be
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Build the project's kernel from source and install it
    Build {
        /// A kernel source tree or tarball [default: Debian's linux-source package]
        #[arg(long, value_name = "PATH")]
        source: Option<PathBuf>,
    },
    /// Compare a kernel with its recorded or a given SHA-256
    Verify {
        /// The file [default: the installed kernel]
        #[arg(long, value_name = "PATH")]
        path: Option<PathBuf>,
        /// What its SHA-256 must be
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
}
