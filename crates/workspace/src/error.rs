//! Why a run failed, apart from its command.

use std::path::PathBuf;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::named::{ProtocolError, Told};

/// Why a run failed, apart from its command.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was asked makes no sense.
    #[error("{message}")]
    Usage {
        /// What and why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Neither the image nor the request names a program.
    #[error("nothing to run: the image has neither entrypoint nor command")]
    NoCommand,
    /// The state directory or something in it.
    #[error("{what}")]
    State {
        /// What could not be done with which path.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A newer version of the program has been here.
    #[error(
        "state directory {} has layout version {found}, this program knows version {known}",
        path.display()
    )]
    NewerState {
        /// The state directory.
        path: PathBuf,
        /// What is there.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// A file of a workspace that another version of the program wrote.
    #[error("the {what} in {} has version {found}, this program knows version {known}", path.display())]
    OtherVersion {
        /// What kind of file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is there.
        found: u64,
        /// What is known.
        known: u32,
    },
    /// There is no workspace of that name.
    #[error("there is no workspace '{0}'")]
    NoWorkspace(String),
    /// What was asked of a workspace cannot be done where it is in its life.
    #[error("{message}")]
    WrongMoment {
        /// What and why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Something is no longer what a workspace was made with.
    #[error("the {what} is another: sha256 {found}, the workspace was made with {expected}")]
    Diverged {
        /// What it is.
        what: String,
        /// SHA-256 of what it was made with.
        expected: String,
        /// SHA-256 of what is here now.
        found: String,
    },
    /// The reference of a workspace's image stands for another one than that which its disk was
    /// made of.
    #[error(
        "{reference} is another image now: {found}, the workspace's disk was made of {made_of}"
    )]
    ImageMoved {
        /// The reference.
        reference: String,
        /// Digest of what the disk was made of.
        made_of: String,
        /// Digest of what it stands for here now.
        found: String,
    },
    /// The shim of a workspace could not be talked to.
    #[error("cannot talk to the shim of workspace {workspace}")]
    Shim {
        /// Which workspace.
        workspace: String,
        /// Why.
        #[source]
        source: ProtocolError,
    },
    /// What a shim met, in its words.
    #[error("{}", .0.message)]
    Told(Box<Told>),
    /// A workspace of that name exists.
    #[error("workspace {0} exists already")]
    Conflict(String),
    /// Somebody else uses it.
    #[error("{0} is in use")]
    InUse(String),
    /// The file system in a disk could not be read.
    #[error("cannot read {}", image.display())]
    Read {
        /// The image.
        image: PathBuf,
        /// Why.
        #[source]
        source: microagent_rootfs::ReadError,
    },
    /// A file could not be copied.
    #[error("cannot copy {path}: {reason}")]
    Copy {
        /// Which, and of which workspace.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A guest did not say what a path leads to.
    #[error("cannot look at {path}: {reason}")]
    Asked {
        /// Which, and of which workspace.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The image could not be had.
    #[error(transparent)]
    Image(#[from] microagent_image::ImageError),
    /// Its root disk could not be built.
    #[error(transparent)]
    Rootfs(#[from] microagent_rootfs::RootfsError),
    /// No kernel, or one that is none.
    #[error(transparent)]
    Kernel(#[from] microagent_kernel::KernelError),
    /// The target of a required channel is not there.
    #[error("mediation target {target} cannot be reached")]
    Mediation {
        /// The target.
        target: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A disk beside the root disk cannot be attached.
    #[error("disk '{id}': {}: {reason}", path.display())]
    Disk {
        /// Its name.
        id: String,
        /// What it was to be made of.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The machine.
    #[error(transparent)]
    Backend(#[from] microagent_backend::Error),
    /// The machine did not come as far as running commands.
    #[error("the guest did not start: {stage}: {reason}{}", tail(console))]
    Boot {
        /// How far it came.
        stage: &'static str,
        /// What ended it.
        reason: String,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The machine ended under its command.
    #[error("the guest ended before its command: {reason}{}", tail(console))]
    Lost {
        /// What ended it.
        reason: String,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The machine did not end as it was asked to.
    #[error("the guest did not write back its disks: {reason}{}", tail(console))]
    NotWrittenBack {
        /// What came instead.
        reason: String,
        /// The last lines of its console, where they may say more.
        console: Vec<String>,
    },
    /// A signal or the time limit ended it before its command began.
    #[error("interrupted by {0}")]
    Interrupted(Interrupt),
    /// A step that has a deadline of its own.
    #[error("{what} took more than {limit:?}")]
    Timeout {
        /// Which step.
        what: &'static str,
        /// Its deadline.
        limit: Duration,
    },
}

fn tail(console: &[String]) -> String {
    if console.is_empty() {
        String::new()
    } else {
        format!("\nlast console lines:\n  {}", console.join("\n  "))
    }
}

/// An error and its causes, for a reason that stands within another sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn image_kind(error: &microagent_image::ImageError) -> microagent_backend::ErrorKind {
    use microagent_backend::ErrorKind;
    use microagent_image::ErrorKind as Of;
    match error.kind() {
        Of::Usage => ErrorKind::Usage,
        Of::NotFound => ErrorKind::NotFound,
        Of::Unsupported => ErrorKind::Unsupported,
        Of::Corrupt => ErrorKind::Protocol,
        Of::Timeout => ErrorKind::Timeout,
        Of::Network => ErrorKind::Unavailable,
        _ => ErrorKind::Io,
    }
}

fn rootfs_kind(error: &microagent_rootfs::RootfsError) -> microagent_backend::ErrorKind {
    use microagent_backend::ErrorKind;
    use microagent_rootfs::ErrorKind as Of;
    match error.kind() {
        Of::Usage | Of::TooSmall => ErrorKind::Usage,
        Of::Corrupt | Of::Refused => ErrorKind::Protocol,
        Of::Unsupported => ErrorKind::Unsupported,
        Of::Io => ErrorKind::Io,
    }
}

fn read_kind(error: &microagent_rootfs::ReadError) -> microagent_backend::ErrorKind {
    use microagent_backend::ErrorKind;
    use microagent_rootfs::ReadError as Of;
    match error {
        Of::NotFound(_) | Of::Kind { .. } => ErrorKind::NotFound,
        Of::NotExt4(_) | Of::Corrupt(_) | Of::Limit { .. } => ErrorKind::Protocol,
        Of::Unsupported(_) | Of::LeftOut(_) => ErrorKind::Unsupported,
        Of::Io { .. } => ErrorKind::Io,
    }
}

impl RunError {
    /// An error of the operating system about the state directory.
    pub(crate) fn state(what: String, source: std::io::Error) -> Self {
        Self::State { what, source }
    }

    /// A request that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// What kind of failure, for programs: one of the names of
    /// [`ErrorKind`](microagent_backend::ErrorKind), or `interrupted`.
    pub fn kind(&self) -> &str {
        use microagent_backend::ErrorKind;
        match self {
            Self::Usage { .. } | Self::NoCommand => ErrorKind::Usage.name(),
            Self::State { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                ErrorKind::Exhausted.name()
            }
            Self::State { .. } => ErrorKind::Io.name(),
            Self::NewerState { .. } => ErrorKind::Unsupported.name(),
            Self::OtherVersion { .. } => ErrorKind::Unsupported.name(),
            Self::NoWorkspace(_) => ErrorKind::NotFound.name(),
            Self::WrongMoment { .. } => ErrorKind::InvalidState.name(),
            Self::Diverged { .. } | Self::ImageMoved { .. } => ErrorKind::Conflict.name(),
            Self::Shim { source: ProtocolError::Io(_), .. } => ErrorKind::Io.name(),
            Self::Shim { source: ProtocolError::Hangs { .. }, .. } => ErrorKind::Timeout.name(),
            Self::Shim { source: ProtocolError::AtTerminal, .. } => ErrorKind::InvalidState.name(),
            Self::Shim { .. } => ErrorKind::Protocol.name(),
            Self::Told(told) => &told.kind,
            Self::Conflict(_) | Self::InUse(_) => ErrorKind::Conflict.name(),
            Self::Read { source, .. } => read_kind(source).name(),
            Self::Image(e) => image_kind(e).name(),
            Self::Rootfs(e) => rootfs_kind(e).name(),
            Self::Kernel(_) => ErrorKind::NotFound.name(),
            Self::Mediation { .. } => ErrorKind::Unavailable.name(),
            Self::Disk { .. } | Self::Copy { .. } | Self::Asked { .. } => {
                ErrorKind::NotFound.name()
            }
            Self::Backend(e) => e.kind.name(),
            Self::Boot { .. } | Self::Lost { .. } | Self::NotWrittenBack { .. } => {
                ErrorKind::Crashed.name()
            }
            Self::Interrupted(Interrupt::Timeout) | Self::Timeout { .. } => {
                ErrorKind::Timeout.name()
            }
            Self::Interrupted(Interrupt::Signal(_)) => "interrupted",
        }
    }

    /// Whether it is that the connection to a shim ended, which may be about to go.
    pub(crate) fn is_of_a_shim_that_goes(&self) -> bool {
        matches!(self, Self::Shim { source: ProtocolError::Io(_), .. })
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Disk { hint, .. } => hint.clone(),
            Self::NoCommand => Some("give a command, or --exec '<command>'".into()),
            Self::State { .. } => Some("choose another directory with --state-dir".into()),
            Self::NewerState { .. } => Some("use the newer program, or another --state-dir".into()),
            Self::OtherVersion { found, known, .. } if *found > u64::from(*known) => {
                Some("use the newer program".into())
            }
            Self::OtherVersion { .. } => Some(
                "an older program made it: fetch its files with `microagent artifacts`, or \
                 `microagent delete` it"
                    .into(),
            ),
            Self::NoWorkspace(_) => Some(
                "`microagent list` shows those there are, `microagent create` makes one".into(),
            ),
            Self::WrongMoment { hint, .. } => Some(hint.clone()),
            Self::Diverged { .. } => {
                Some("`microagent start --accept-changes` takes it as it is now".into())
            }
            Self::ImageMoved { .. } => Some(
                "`microagent create` makes a workspace of that one; `microagent start \
                 --accept-changes` goes on with the disk as it is"
                    .into(),
            ),
            Self::Shim { workspace, source: ProtocolError::Hangs { .. } } => Some(format!(
                "`microagent kill {workspace}` ends it, and its machine as a loss of power would"
            )),
            Self::Shim { .. } => {
                Some("use the program that started it, or `microagent kill` it".into())
            }
            Self::Told(told) => told.hint.clone(),
            Self::Conflict(_) => Some("choose another --name".into()),
            Self::InUse(_) => Some("end what uses it first".into()),
            Self::Read { .. } | Self::Copy { .. } | Self::Asked { .. } => None,
            Self::Image(e) => e.hint(),
            Self::Rootfs(e) => e.hint(),
            Self::Kernel(e) => e.hint().map(str::to_owned),
            Self::Mediation { .. } => Some(
                "start what listens there, or give --mediation-optional to start without it".into(),
            ),
            Self::Backend(e) => e.hint.clone(),
            Self::Boot { .. } => Some("run with -v to see the whole console".into()),
            Self::NotWrittenBack { .. } => {
                Some("what it wrote last may be missing; look at the disks with e2fsck".into())
            }
            Self::Lost { .. } | Self::Interrupted(_) | Self::Timeout { .. } => None,
        }
    }
}
