//! Everything before there is a machine: image, root disk, backend, kernel.

use std::path::PathBuf;

use microagent_backend::Capabilities;
use microagent_image::{Image, ImageError, PullPolicy, ResolveOptions, Source, Store};
use microagent_kernel::{Catalogue, Kernel};
use microagent_machine::{Feature, MiB};
use microagent_supervisor::{Choice, Reason};
use serde::Serialize;

use super::{Flow, Tenure};
use crate::command::{ImageDefaults, argv};
use crate::named::{Found, Verification};
use crate::network::PlannedNetwork;
use crate::origin::{check_rootfs, defaults_of_rootfs};
use crate::plan::{RootFiles, RootMode, machine_spec};
use crate::progress::ForImages;
use crate::resolver::HostResolver;
use crate::{
    DiskRequest, Origin, ReportedMediation, RunError, RunIo, RunRequest, Tools, attach, base_disk,
};

/// The feature of a kernel that a layered root needs.
const LAYERED_FEATURE: &str = "dm-snapshot";

/// What was found before anything of this run was made.
pub(crate) struct Prepared {
    pub(crate) defaults: ImageDefaults,
    pub(crate) argv: Vec<String>,
    pub(crate) base: PathBuf,
    pub(crate) mode: RootMode,
    pub(crate) choice: Choice,
    pub(crate) kernel: Kernel,
    pub(crate) network: PlannedNetwork,
}

impl Flow<'_> {
    pub(crate) async fn prepare(&mut self, io: &mut RunIo) -> Result<Prepared, RunError> {
        let (base, defaults, digest) = self.base(io).await?;
        let argv = self.argv(&defaults)?;
        self.report.resources.size_mib = size_of(&base);
        self.phases.end("rootfs");

        let kernel = self.kernel()?;
        self.report.kernel_path = Some(kernel.path.display().to_string());
        let mode = root_mode(self.request, &kernel);
        self.phases.end("kernel");

        let (mode, choice, network) = self.choose(mode, io).await?;
        if self.request.keep {
            let verification = Verification::now(self.tools, kernel.path.clone(), digest.clone())?;
            let size = size_of(&base).unwrap_or(MiB(0));
            let defaults = defaults.clone();
            self.found = Some(Found { digest, defaults, command: None, size, verification });
        }
        Ok(Prepared { defaults, argv, base, mode, choice, kernel, network })
    }

    /// The disk that the root is made of, how commands are run in it, and the digest of its
    /// image, if there is one.
    async fn base(
        &mut self,
        io: &mut RunIo,
    ) -> Result<(PathBuf, ImageDefaults, Option<String>), RunError> {
        let request = self.request;
        match &request.origin {
            Origin::Image { source, .. } => {
                let image = self.resolve(source, io).await?;
                let (defaults, digest) = (defaults_of(&image), image.digest.to_string());
                self.report.image.digest = Some(digest.clone());
                // Before a disk is built for nothing.
                self.argv(&defaults)?;
                self.phases.end("resolve");
                Ok((self.materialise(image, io).await?, defaults, Some(digest)))
            }
            Origin::Rootfs { path } => {
                check_rootfs(path)?;
                Ok((path.clone(), defaults_of_rootfs(), None))
            }
        }
    }

    fn argv(&self, defaults: &ImageDefaults) -> Result<Vec<String>, RunError> {
        match self.tenure {
            Tenure::Attached | Tenure::Leavable => {
                argv(&self.request.command, defaults, &self.request.shell)
            }
            // It need not run anything.
            Tenure::Detached | Tenure::Borrowed => Ok(Vec::new()),
        }
    }

    /// What a workspace that lasts is started with: the disk that it has, and nothing of an
    /// image.
    pub(crate) async fn prepare_again(
        &mut self,
        disk: PathBuf,
        defaults: ImageDefaults,
        io: &mut RunIo,
    ) -> Result<Prepared, RunError> {
        let kernel = self.kernel()?;
        self.phases.end("kernel");
        let (mode, choice, network) = self.choose(RootMode::Copy, io).await?;
        let argv = Vec::new();
        Ok(Prepared { defaults, argv, base: disk, mode, choice, kernel, network })
    }

    async fn choose(
        &mut self,
        mode: RootMode,
        io: &mut RunIo,
    ) -> Result<(RootMode, Choice, PlannedNetwork), RunError> {
        let network = PlannedNetwork::new(&self.request.network, HostResolver::read);
        let choosing = choose(self.request, self.tools, mode, &network);
        let (mode, choice) = io.interrupts.guard(choosing).await?;
        self.report.backend = Some(choice.backend.name().to_owned());
        self.report.backend_reason = choice.reasons.last().map(|reason| reason.text.clone());
        for Reason { backend, text } in &choice.reasons {
            tracing::info!(backend, reason = text, "supervisor");
        }
        if network.for_machine().is_some()
            && let Some(caution) = choice.capabilities.cautions.get(&Feature::UserNet)
        {
            io.progress.note(&format!("warning: {caution}"));
        }
        self.phases.end("choose");
        Ok((mode, choice, network))
    }

    async fn resolve(&self, source: &Source, io: &mut RunIo) -> Result<Image, RunError> {
        let store = Store::open(&self.tools.state.images())?;
        let request = self.request;
        let options = ResolveOptions {
            pull: request.pull,
            insecure_registries: request.insecure_registries.clone(),
            ..ResolveOptions::default()
        };
        let progress = ForImages(io.progress.as_ref());
        io.interrupts.guard(store.resolve(source, &options, &progress)).await
    }

    /// Builds the base on a thread of its own, so that an interrupt is heard meanwhile. The
    /// image is let go of then: nothing of the run needs its blobs any more.
    async fn materialise(&self, image: Image, io: &mut RunIo) -> Result<PathBuf, RunError> {
        let state = self.tools.state.clone();
        let size = self.request.resources.size_mib;
        let mke2fs = self.request.mke2fs.clone();
        let progress = io.progress.clone();
        let build = tokio::task::spawn_blocking(move || {
            base_disk::materialise(&state, &image, size, mke2fs.as_deref(), progress.as_ref())
        });
        let joined = async {
            build.await.unwrap_or_else(|e| {
                Err(RunError::state("cannot build the root disk".into(), e.into()))
            })
        };
        io.interrupts.guard(joined).await
    }

    fn kernel(&self) -> Result<Kernel, RunError> {
        Ok(catalogue(self.tools).pick(self.request.kernel.as_deref())?)
    }
}

/// The backend for all disks together, and the root that fits: a layered one takes two disks,
/// which is one too many where all that a machine can have were asked for.
async fn choose(
    request: &RunRequest,
    tools: &Tools,
    mode: RootMode,
    network: &PlannedNetwork,
) -> Result<(RootMode, Choice), microagent_backend::Error> {
    let attached: Vec<_> = request.disks.iter().map(DiskRequest::stand_in).collect();
    let ask = async |mode| {
        let spec = machine_spec(&request.resources, &stand_in(mode), &attached, network);
        tools.registry.choose(&request.supervisor, &spec).await
    };
    match ask(mode).await {
        Ok(choice) => Ok((mode, choice)),
        Err(error) if mode == RootMode::Layered && !attached.is_empty() => {
            let copied = ask(RootMode::Copy).await;
            copied.map(|choice| (RootMode::Copy, choice)).map_err(|_| error)
        }
        Err(error) => Err(error),
    }
}

fn catalogue(tools: &Tools) -> Catalogue {
    Catalogue::new(tools.state.kernels(), tools.shared_kernels.clone())
}

/// A run that is thrown away shares the base where its kernel can put a scratch disk over
/// it; one that is kept owns a copy, which any backend and kernel can start again.
fn root_mode(request: &RunRequest, kernel: &Kernel) -> RootMode {
    if !request.keep && kernel.features.contains(LAYERED_FEATURE) {
        RootMode::Layered
    } else {
        RootMode::Copy
    }
}

/// Root disks for a spec that is only compared, never built.
fn stand_in(mode: RootMode) -> RootFiles {
    match mode {
        RootMode::Copy => RootFiles::Copy { disk: PathBuf::new() },
        RootMode::Layered => RootFiles::Layered { base: PathBuf::new(), scratch: PathBuf::new() },
    }
}

fn size_of(base: &std::path::Path) -> Option<MiB> {
    let mib = base.metadata().ok()?.len() >> 20;
    u32::try_from(mib).ok().map(MiB)
}

fn defaults_of(image: &Image) -> ImageDefaults {
    let config = &image.config;
    ImageDefaults {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        user: config.user.clone().unwrap_or_default(),
        workdir: config.workdir.clone().unwrap_or_default(),
    }
}

/// What a run would do. Its JSON form is part of the command-line interface.
#[derive(Debug, Serialize)]
pub struct DryRun {
    /// The image, and whether it would be fetched.
    pub image: String,
    /// What would be run, where the image is here to tell.
    pub command: Option<Vec<String>>,
    /// The root disk, and whether it would be built.
    pub disk: String,
    /// The kernel.
    pub kernel: String,
    /// The backend.
    pub backend: String,
    /// Why that one.
    pub backend_reasons: Vec<String>,
    /// The channel to a target of the host, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mediation: Option<ReportedMediation>,
    /// The machine, without what only exists once it is made.
    pub machine: microagent_machine::MachineSpec,
}

/// Finds out what a run would do, and makes nothing.
///
/// # Errors
/// What a run would fail with, as far as that shows without fetching anything.
pub async fn dry_run(request: &RunRequest, tools: &Tools) -> Result<DryRun, RunError> {
    drop(attach::check(&request.disks, &tools.state)?);
    let kernel = catalogue(tools).pick(request.kernel.as_deref())?;
    let network = PlannedNetwork::new(&request.network, HostResolver::read);
    let (mode, choice) = choose(request, tools, root_mode(request, &kernel), &network).await?;
    let image = cached(request, tools).await?;
    let (base, built) = match &image {
        Some(image) => base_disk::find(&tools.state, image, request)?,
        None => (tools.state.bases(), false),
    };
    let root = match mode {
        RootMode::Copy => RootFiles::Copy { disk: base },
        RootMode::Layered => RootFiles::Layered { base, scratch: PathBuf::from("scratch") },
    };
    let attached: Vec<_> = request.disks.iter().map(DiskRequest::stand_in).collect();
    let spec = machine_spec(&request.resources, &root, &attached, &network);
    let Capabilities { backend, version, .. } = &choice.capabilities;
    let command = match &image {
        Some(image) => Some(argv(&request.command, &defaults_of(image), &request.shell)?),
        None => None,
    };
    Ok(DryRun {
        image: match (&image, &request.origin) {
            (Some(image), origin) => format!("{origin} ({}, here)", image.digest),
            (None, Origin::Image { reference, source: Source::Registry(_) }) => {
                format!("{reference} (would be fetched)")
            }
            (None, origin) => format!("{origin} (would be read)"),
        },
        command,
        disk: format!(
            "{} ({}, {})",
            root.reported().display(),
            if built { "here" } else { "would be built" },
            if mode == RootMode::Layered { "shared under a scratch disk" } else { "copied" },
        ),
        kernel: kernel.path.display().to_string(),
        backend: format!("{backend} {version}"),
        backend_reasons: choice.reasons.iter().map(ToString::to_string).collect(),
        mediation: request.mediation.as_ref().map(ReportedMediation::of),
        machine: spec,
    })
}

async fn cached(request: &RunRequest, tools: &Tools) -> Result<Option<Image>, RunError> {
    if !tools.state.images().exists() {
        return Ok(None);
    }
    let Origin::Image { source, .. } = &request.origin else { return Ok(None) };
    let store = Store::open(&tools.state.images())?;
    match store.inspect(source, &ResolveOptions::default().platform).await {
        Ok(image) => Ok(Some(image)),
        Err(e) if not_here(&e) && request.pull != PullPolicy::Never => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn not_here(error: &ImageError) -> bool {
    error.kind() == microagent_image::ErrorKind::NotFound
}
