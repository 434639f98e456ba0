//! What a run is given.

use std::path::PathBuf;
use std::sync::Arc;

use microagent_guest_protocol::TtySize;
use microagent_image::PullPolicy;
use microagent_supervisor::{Registry, Selection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};

use crate::command::Surroundings;
use crate::named::ShimProgram;
use crate::{
    CommandRequest, DiskRequest, Interrupts, MediationRequest, Name, Network, Origin,
    OutputRequest, Progress, Resources, StateDir,
};

/// A run that is asked for, checked as far as it can be without looking at anything.
#[derive(Debug)]
pub struct RunRequest {
    /// What its root disk is made of.
    pub origin: Origin,
    /// When to ask the registry.
    pub pull: PullPolicy,
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// What to run.
    pub command: CommandRequest,
    /// Shell lines that run before it, in order.
    pub setup: Vec<String>,
    /// Over the image's environment.
    pub env: Vec<(String, String)>,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Instead of the image's working directory.
    pub workdir: Option<String>,
    /// The shell for setup and shell lines: an absolute path in the guest.
    pub shell: String,
    /// Instead of the workspace's name.
    pub hostname: Option<String>,
    /// Name of the workspace.
    pub name: Name,
    /// Whether the workspace outlives the run.
    pub keep: bool,
    /// How much of the host it gets.
    pub resources: Resources,
    /// What network it gets.
    pub network: Network,
    /// A channel from the guest to a target of the host.
    pub mediation: Option<MediationRequest>,
    /// A kernel instead of the installed one.
    pub kernel: Option<PathBuf>,
    /// Builds the root disk with this program.
    pub mke2fs: Option<PathBuf>,
    /// Disks beside the root disk, in the order in which the guest numbers them.
    pub disks: Vec<DiskRequest>,
    /// What is wanted of the guest's files.
    pub outputs: Vec<OutputRequest>,
    /// Permission bits that outputs give to nobody on the host.
    pub umask: u32,
    /// Where they are put when the command has ended.
    pub output_dir: Option<PathBuf>,
    /// Which backend.
    pub supervisor: Selection,
    /// Whether to hand over the console.
    pub verbose: bool,
    /// Whether to look at the memory of the machine's processes once the command has ended.
    pub measure: bool,
}

impl RunRequest {
    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings {
            env: self.env.clone(),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            shell: self.shell.clone(),
        }
    }

    pub(crate) fn guest_hostname(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.name.hostname())
    }
}

/// What a run needs of the program around it.
pub struct Tools {
    /// Where everything is kept.
    pub state: StateDir,
    /// The guest agent's binary.
    pub agent: &'static [u8],
    /// The backends there are.
    pub registry: Registry,
    /// Directories of kernels that came with the program.
    pub shared_kernels: Vec<PathBuf>,
}

/// The command's streams, and what can end the run.
pub struct RunIo {
    /// Forwarded to the command, if given; it reads nothing otherwise.
    pub stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// The size of the terminal that the command gets, if it gets one, as it changes. Its
    /// standard error then goes where its standard output goes.
    pub terminal: Option<watch::Receiver<TtySize>>,
    /// Gets the command's standard output, byte for byte.
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    /// Gets the command's standard error, byte for byte.
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    /// Signals and the time limit.
    pub interrupts: Interrupts,
    /// Hears how it gets on.
    pub progress: Arc<dyn Progress>,
    /// How a run is left whose command goes on, if it can be: it is to be kept.
    pub leave: Option<Leave>,
}

impl RunIo {
    /// For what runs no command.
    pub fn without_streams(interrupts: Interrupts, progress: Arc<dyn Progress>) -> Self {
        Self {
            stdin: None,
            terminal: None,
            stdout: Box::new(tokio::io::sink()),
            stderr: Box::new(tokio::io::sink()),
            interrupts,
            progress,
            leave: None,
        }
    }
}

/// How a run is left whose command goes on.
#[derive(Debug)]
pub struct Leave {
    /// Notified when it is to be left.
    pub asked: Arc<Notify>,
    /// What has the workspace from then on.
    pub shim: ShimProgram,
}
