//! The backend: what this QEMU can do here, and machines of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use microagent_backend::{
    Acceleration, Backend, Capabilities, Error, ErrorKind, IsolationPlan, Lifetime, Limits,
    Machine, PowerOff, Result, RunDir,
};
use microagent_guarded::{KvmProbe, absolute_dir, admitted, landlock_works, locate_passt, memory};
use microagent_machine::{Arch, Feature, MachineSpec};

use crate::acceleration::decide;
use crate::argv::Facts;
use crate::build::{Parts, build};
use crate::cache::Cache;
use crate::identify::Identity;
use crate::limits::{MAX_MEMORY, MAX_VCPUS, VIRTIO_SLOTS};
use crate::locate::locate;
use crate::machine::QemuMachine;
use crate::options::WayOut;
use crate::{QemuOptions, QemuVersion, slirp};

/// The name by which users choose it.
pub(crate) const NAME: &str = "qemu";

/// QEMU's `microvm`.
#[derive(Debug)]
pub struct QemuBackend {
    options: QemuOptions,
    cache: Cache,
    kvm: KvmProbe,
}

impl QemuBackend {
    /// A backend with these options. Nothing is looked for before it is asked something.
    pub fn new(options: QemuOptions) -> Self {
        let cache = Cache::new(options.cache_dir.clone());
        let kvm = KvmProbe::new(options.cache_dir.as_deref());
        Self { options, cache, kvm }
    }

    /// What there is to make machines of.
    async fn find(&self) -> Result<Found> {
        let vmm = &self.options.monitor;
        if !vmm.is_file() {
            let message = format!("there is no monitor program {}", vmm.display());
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_hint("install microagent-vmm beside microagent"));
        }
        let program = locate(self.options.program.as_deref())?;
        let identity = self.cache.identity(&program).await?;
        check(&program, &identity)?;
        let acceleration = decide(self.options.accel, &self.kvm, vmm).await?;
        let passt = locate_passt().ok();
        let way_out = self.options.way_out;
        Ok(Found { program, identity, way_out, passt, acceleration })
    }
}

/// A QEMU that can be used.
struct Found {
    program: PathBuf,
    identity: Identity,
    way_out: WayOut,
    passt: Option<PathBuf>,
    acceleration: Acceleration,
}

impl Found {
    fn capabilities(&self) -> Capabilities {
        let Identity { version, microvm: _, sandbox, block, vsock, net, slirp, rng } =
            self.identity;
        let (has_way_out, remedy, caution) = match self.way_out {
            WayOut::Passt => (self.passt.is_some(), slirp::instead_of_passt(), None),
            WayOut::Slirp => (slirp, slirp::ABSENT.to_owned(), Some(slirp::CAUTION.to_owned())),
        };
        let user_net = net && has_way_out;
        let remedy = (net && !user_net).then_some((Feature::UserNet, remedy));
        let caution = caution.filter(|_| user_net).map(|text| (Feature::UserNet, text));
        let features = [
            (Feature::BootVmlinux, true),
            (Feature::BootBzimage, true),
            (Feature::Disk, block),
            (Feature::ReadOnlyDisk, block),
            (Feature::Vsock, vsock),
            (Feature::Rng, rng),
            (Feature::UserNet, user_net),
            (Feature::MultipleVcpus, true),
            (Feature::Console, true),
            (Feature::Pause, true),
            (Feature::Detached, true),
        ];
        Capabilities {
            backend: NAME.into(),
            version: version.to_string(),
            architectures: vec![Arch::X86_64],
            features: features.into_iter().filter(|(_, has)| *has).map(|(f, _)| f).collect(),
            remedies: BTreeMap::from_iter(remedy),
            cautions: BTreeMap::from_iter(caution),
            limits: Limits {
                vcpus: MAX_VCPUS,
                memory: memory().min(MAX_MEMORY),
                virtio_slots: Some(VIRTIO_SLOTS),
                disks: VIRTIO_SLOTS,
            },
            acceleration: self.acceleration.clone(),
            power_off: PowerOff::Reset,
            isolation: IsolationPlan {
                // Guard and vsock always filter their calls; QEMU does where it was built so.
                seccomp: sandbox,
                landlock: landlock_works(),
                no_new_privs: true,
                rlimits: true,
            },
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            kvm: self.acceleration.is_real(),
            sandbox: self.identity.sandbox,
            way_out: self.way_out,
        }
    }
}

#[async_trait]
impl Backend for QemuBackend {
    fn name(&self) -> &str {
        NAME
    }

    async fn probe(&self) -> Result<Capabilities> {
        Ok(self.find().await?.capabilities())
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let found = self.find().await?;
        let boot = admitted(spec, &found.capabilities())?;
        let parts = Parts {
            vmm: &self.options.monitor,
            program: &found.program,
            passt: found.passt.as_deref().filter(|_| found.way_out == WayOut::Passt),
            facts: found.facts(),
        };
        Ok(Box::new(build(&parts, spec, boot, &absolute_dir(dir)?, lifetime).await?))
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        Ok(Box::new(QemuMachine::open(absolute_dir(dir)?)?))
    }
}

fn check(program: &Path, identity: &Identity) -> Result<()> {
    let unavailable = |what: String, hint: &str| {
        let message = format!("{} {what}", program.display());
        Err(Error::new(ErrorKind::Unavailable, message).with_hint(hint))
    };
    if identity.version < QemuVersion::OLDEST {
        let (version, oldest) = (identity.version, QemuVersion::OLDEST);
        let what = format!("is QEMU {version}, expected {oldest} or later");
        return unavailable(what, "install a later QEMU, or give the path of one");
    }
    if !identity.microvm {
        let what = "has no machine 'microvm'".into();
        return unavailable(what, "give the path of a qemu-system-x86_64 that has it");
    }
    Ok(())
}
