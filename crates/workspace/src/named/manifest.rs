//! `manifest.json`: what a workspace was made of, and with what it is started.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use microagent_image::{PullPolicy, Source};
use microagent_machine::{Access, DiskId, MiB, Publish};
use microagent_supervisor::Selection;
use microagent_vsock::Need;
use serde::{Deserialize, Serialize};

use super::durable::{self, Versioned};
use super::verification::Verification;
use crate::command::ImageDefaults;
use crate::directory::MANIFEST;
use crate::{
    CommandRequest, DiskRequest, DiskSource, MediationRequest, MountPoint, Name, Network, Origin,
    OutputRequest, Owners, Resources, RunError, RunRequest,
};

/// What a workspace was made of, and with what it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// The workspace's name.
    pub name: Name,
    /// When it was made; RFC 3339, UTC.
    pub created_at: String,
    /// What its disk was made of.
    pub origin: OriginRecord,
    /// What it is compared with before every start.
    pub verification: Verification,
    /// How much of the host its machine gets.
    pub resources: ResourcesRecord,
    /// What runs once its setup is done, and with whose end the machine ends; without it the
    /// machine is there for the commands of others.
    pub command: Option<Vec<String>>,
    /// Shell lines of its first start.
    pub setup: Vec<String>,
    /// What its image says about running commands.
    pub(crate) defaults: ImageDefaults,
    /// Over the image's environment.
    pub env: Vec<(String, String)>,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Instead of the image's working directory.
    pub workdir: Option<String>,
    /// The guest's shell.
    pub shell: String,
    /// The guest's host name.
    pub hostname: Option<String>,
    /// Disks beside the root disk.
    pub(crate) disks: Vec<DiskRecord>,
    /// The channel to a target of the host.
    pub(crate) mediation: Option<MediationRecord>,
    /// What network its machine gets.
    pub(crate) network: NetworkRecord,
    /// What is wanted of its files.
    pub outputs: Vec<OutputRequest>,
    /// The supervisor that was asked for.
    pub supervisor: String,
    /// What follows when it ends.
    pub restart: RestartPolicy,
}

/// What a disk was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OriginRecord {
    /// An OCI image.
    Image(ImageRecord),
    /// A copy of an ext4 image, which nobody needs any more.
    Rootfs {
        /// Where that was.
        path: PathBuf,
    },
}

/// The image that a disk was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// As it was asked for, but for a path, which is absolute.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Digest of the image manifest that the disk was made of.
    pub digest: String,
}

/// How much of the host a machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourcesRecord {
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Number of vCPUs.
    pub cpus: u32,
    /// Size of the root disk in MiB.
    pub size_mib: u32,
}

/// What follows when a machine ends without having been asked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    Never,
    /// It is started again if it or its command failed.
    OnFailure,
    /// It is started again.
    Always,
}

/// A disk beside the root disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskRecord {
    id: DiskId,
    source: SourceRecord,
    target: String,
    access: Access,
}

/// What is in a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
enum SourceRecord {
    Image { path: PathBuf },
    Bundle { path: PathBuf, keep_owners: bool },
    Volume { name: DiskId },
}

/// A channel to a target of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MediationRecord {
    /// As on the command line.
    channel: String,
    required: bool,
}

/// What network a machine gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode", deny_unknown_fields)]
pub(crate) enum NetworkRecord {
    Isolated,
    User { publish: Vec<Publish> },
}

impl Versioned for Manifest {
    const VERSION: u32 = 5;
    const WHAT: &'static str = "manifest of the workspace";
}

/// What is known only once the image is here.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Of the image, where there is one.
    pub(crate) digest: Option<String>,
    pub(crate) defaults: ImageDefaults,
    /// The command line, if one was asked for.
    pub(crate) command: Option<Vec<String>>,
    pub(crate) size: MiB,
    pub(crate) verification: Verification,
}

impl Manifest {
    /// That of a workspace which is made as `request` says, now.
    pub(crate) fn new(request: &RunRequest, found: Found, restart: RestartPolicy) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        Self {
            version: Self::VERSION,
            name: request.name.clone(),
            created_at: Timestamp::now().to_string(),
            origin: OriginRecord::of(&request.origin, found.digest),
            verification: found.verification,
            resources: ResourcesRecord {
                memory_mib: request.resources.memory_mib.0,
                cpus: request.resources.cpus,
                size_mib: found.size.0,
            },
            command: found.command,
            setup: request.setup.clone(),
            defaults: found.defaults,
            env: request.env.clone(),
            user: request.user.clone(),
            workdir: request.workdir.clone(),
            shell: request.shell.clone(),
            hostname: request.hostname.clone(),
            disks: request.disks.iter().map(|disk| DiskRecord::of(disk, absolute)).collect(),
            mediation: request.mediation.as_ref().map(MediationRecord::of),
            network: NetworkRecord::of(&request.network),
            outputs: request.outputs.clone(),
            supervisor: match &request.supervisor {
                Selection::Path { path } => Selection::Path { path: absolute(path) }.to_string(),
                other => other.to_string(),
            },
            restart,
        }
    }

    /// Reads that of the workspace in `dir`; none where it holds no workspace.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, RunError> {
        durable::read(&dir.join(MANIFEST))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), RunError> {
        durable::write(&dir.join(MANIFEST), self)
    }

    /// What a start asks for.
    ///
    /// # Errors
    /// `Usage` where something in it is no longer understood.
    pub(crate) fn request(&self) -> Result<RunRequest, RunError> {
        let Self {
            version: _,
            name,
            created_at: _,
            origin,
            verification,
            resources,
            command: _,
            setup,
            defaults: _,
            env,
            user,
            workdir,
            shell,
            hostname,
            disks,
            mediation,
            network,
            outputs,
            supervisor,
            restart: _,
        } = self;
        Ok(RunRequest {
            origin: origin.request()?,
            pull: PullPolicy::Never,
            insecure_registries: Vec::new(),
            command: CommandRequest::Program { entrypoint: None, arguments: Vec::new() },
            setup: setup.clone(),
            env: env.clone(),
            user: user.clone(),
            workdir: workdir.clone(),
            shell: shell.clone(),
            hostname: hostname.clone(),
            name: name.clone(),
            keep: true,
            resources: Resources {
                memory_mib: MiB(resources.memory_mib),
                cpus: resources.cpus,
                size_mib: Some(MiB(resources.size_mib)),
            },
            mediation: mediation.as_ref().map(MediationRecord::request).transpose()?,
            network: network.request(),
            kernel: Some(verification.kernel.path.clone()),
            mke2fs: None,
            disks: disks.iter().map(DiskRecord::request).collect::<Result<_, _>>()?,
            outputs: outputs.clone(),
            umask: 0o077,
            output_dir: None,
            supervisor: Selection::parse(supervisor)?,
            verbose: false,
            measure: false,
        })
    }

    /// The same for a workspace of this name, made now.
    pub(crate) fn named(&self, name: &Name) -> Self {
        let created_at = Timestamp::now().to_string();
        Self { name: name.clone(), created_at, ..self.clone() }
    }

    /// The host name of its guest.
    pub fn guest_hostname(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.name.hostname())
    }
}

impl OriginRecord {
    fn of(origin: &Origin, digest: Option<String>) -> Self {
        let reference = match origin {
            Origin::Rootfs { path } => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                return Self::Rootfs { path };
            }
            Origin::Image { reference, source: Source::Registry(_) } => reference.clone(),
            Origin::Image { source, .. } => source.absolute().to_string(),
        };
        Self::Image(ImageRecord { reference, digest: digest.unwrap_or_default() })
    }

    fn request(&self) -> Result<Origin, RunError> {
        Ok(match self {
            Self::Image(ImageRecord { reference, .. }) => {
                Origin::Image { reference: reference.clone(), source: reference.parse()? }
            }
            Self::Rootfs { path } => Origin::Rootfs { path: path.clone() },
        })
    }

    /// The image, if it was made of one.
    pub fn image(&self) -> Option<&ImageRecord> {
        match self {
            Self::Image(image) => Some(image),
            Self::Rootfs { .. } => None,
        }
    }
}

impl fmt::Display for OriginRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => f.write_str(&image.reference),
            Self::Rootfs { path } => path.display().fmt(f),
        }
    }
}

impl DiskRecord {
    fn of(disk: &DiskRequest, absolute: impl Fn(&Path) -> PathBuf) -> Self {
        let DiskRequest { id, source, target, access } = disk;
        let source = match source {
            DiskSource::Image { path } => SourceRecord::Image { path: absolute(path) },
            DiskSource::Bundle { path, owners } => {
                let keep_owners = matches!(owners, Owners::Kept);
                SourceRecord::Bundle { path: absolute(path), keep_owners }
            }
            DiskSource::Volume { name } => SourceRecord::Volume { name: name.clone() },
        };
        Self { id: id.clone(), source, target: target.to_string(), access: *access }
    }

    fn request(&self) -> Result<DiskRequest, RunError> {
        let source = match self.source.clone() {
            SourceRecord::Image { path } => DiskSource::Image { path },
            SourceRecord::Bundle { path, keep_owners } => {
                let owners = if keep_owners { Owners::Kept } else { Owners::Root };
                DiskSource::Bundle { path, owners }
            }
            SourceRecord::Volume { name } => DiskSource::Volume { name },
        };
        let target = MountPoint::new(&self.target).map_err(|e| RunError::usage(e.to_string()))?;
        Ok(DiskRequest { id: self.id.clone(), source, target, access: self.access })
    }
}

impl NetworkRecord {
    fn of(network: &Network) -> Self {
        match network.clone() {
            Network::Isolated => Self::Isolated,
            Network::User { publish } => Self::User { publish },
        }
    }

    fn request(&self) -> Network {
        match self.clone() {
            Self::Isolated => Network::Isolated,
            Self::User { publish } => Network::User { publish },
        }
    }
}

impl MediationRecord {
    fn of(request: &MediationRequest) -> Self {
        let MediationRequest { port, target, listen, need } = request;
        let listen = if *listen { ",listen" } else { "" };
        let required = *need == Need::Required;
        Self { channel: format!("{port}={target}{listen}"), required }
    }

    fn request(&self) -> Result<MediationRequest, RunError> {
        let request: MediationRequest =
            self.channel.parse().map_err(|e| RunError::usage(format!("mediation: {e}")))?;
        let need = if self.required { Need::Required } else { Need::Optional };
        Ok(MediationRequest { need, ..request })
    }
}
