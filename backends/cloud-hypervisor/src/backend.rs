//! The backend: what this Cloud Hypervisor can do here, and machines of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use microagent_backend::{
    Acceleration, Backend, Capabilities, Error, ErrorKind, IsolationPlan, Lifetime, Limits,
    Machine, PowerOff, Result, RunDir,
};
use microagent_guarded::{
    INSTALL_PASST, KvmProbe, absolute_dir, admitted, landlock_works, locate_passt, memory,
};
use microagent_machine::{Arch, Feature, MachineSpec};

use crate::acceleration::decide;
use crate::build::{Parts, build};
use crate::cache::Cache;
use crate::limits::{MAX_MEMORY, MAX_VCPUS, VIRTIO_SLOTS};
use crate::locate::locate;
use crate::machine::CloudHypervisorMachine;
use crate::{CloudHypervisorOptions, CloudHypervisorVersion};

/// The name by which users choose it.
pub(crate) const NAME: &str = "cloud-hypervisor";

/// Cloud Hypervisor.
#[derive(Debug)]
pub struct CloudHypervisorBackend {
    options: CloudHypervisorOptions,
    cache: Cache,
    kvm: KvmProbe,
}

impl CloudHypervisorBackend {
    /// A backend with these options. Nothing is looked for before it is asked something.
    pub fn new(options: CloudHypervisorOptions) -> Self {
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
        let version = self.cache.version(&program).await?;
        check(&program, version)?;
        let acceleration = decide(&self.kvm, vmm).await?;
        let passt = locate_passt().ok();
        Ok(Found { program, version, passt, acceleration })
    }
}

/// A Cloud Hypervisor that can be used.
struct Found {
    program: PathBuf,
    version: CloudHypervisorVersion,
    passt: Option<PathBuf>,
    acceleration: Acceleration,
}

fn capabilities(
    version: CloudHypervisorVersion,
    passt: Option<&Path>,
    acceleration: Acceleration,
) -> Capabilities {
    let tested = if version.is_tested() { "" } else { " (untested)" };
    let features = [
        (Feature::BootVmlinux, true),
        (Feature::BootBzimage, version.boots_bzimage()),
        (Feature::Disk, version.is_told_image_type()),
        (Feature::ReadOnlyDisk, version.is_told_image_type()),
        (Feature::Vsock, true),
        (Feature::Rng, true),
        (Feature::UserNet, passt.is_some()),
        (Feature::MultipleVcpus, true),
        (Feature::Console, true),
        (Feature::Pause, true),
        (Feature::Detached, true),
    ];
    let remedy = passt.is_none().then(|| (Feature::UserNet, INSTALL_PASST.to_owned()));
    Capabilities {
        backend: NAME.into(),
        version: format!("{version}{tested}"),
        architectures: vec![Arch::X86_64],
        features: features.into_iter().filter(|(_, has)| *has).map(|(f, _)| f).collect(),
        remedies: BTreeMap::from_iter(remedy),
        cautions: BTreeMap::new(),
        limits: Limits {
            vcpus: MAX_VCPUS,
            memory: memory().min(MAX_MEMORY),
            virtio_slots: Some(VIRTIO_SLOTS),
            disks: VIRTIO_SLOTS,
        },
        acceleration,
        power_off: PowerOff::Acpi,
        isolation: IsolationPlan {
            seccomp: true,
            landlock: landlock_works(),
            no_new_privs: true,
            rlimits: true,
        },
    }
}

#[async_trait]
impl Backend for CloudHypervisorBackend {
    fn name(&self) -> &str {
        NAME
    }

    async fn probe(&self) -> Result<Capabilities> {
        let Found { program: _, version, passt, acceleration } = self.find().await?;
        Ok(capabilities(version, passt.as_deref(), acceleration))
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let Found { program, version, passt, acceleration } = self.find().await?;
        let passt = passt.as_deref();
        let boot = admitted(spec, &capabilities(version, passt, acceleration))?;
        let parts = Parts { vmm: &self.options.monitor, program: &program, passt, version };
        Ok(Box::new(build(&parts, spec, boot, &absolute_dir(dir)?, lifetime).await?))
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        Ok(Box::new(CloudHypervisorMachine::open(absolute_dir(dir)?)?))
    }
}

fn check(program: &Path, version: CloudHypervisorVersion) -> Result<()> {
    let oldest = CloudHypervisorVersion::OLDEST;
    if version >= oldest {
        return Ok(());
    }
    let program = program.display();
    let message = format!("{program} is Cloud Hypervisor {version}, expected {oldest} or later");
    Err(Error::new(ErrorKind::Unavailable, message)
        .with_hint("install a later Cloud Hypervisor, or give the path of one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32) -> CloudHypervisorVersion {
        CloudHypervisorVersion { major, minor: 0 }
    }

    #[test]
    fn what_differs_by_version_is_a_capability() {
        let check = |major, expect: &str, without: &[Feature]| {
            let evidence = "test".into();
            let passt = Some(Path::new("/bin/passt"));
            let caps = capabilities(version(major), passt, Acceleration::Hardware { evidence });
            assert_eq!(caps.version, expect);
            let lacking = Feature::ALL.iter().filter(|f| !caps.features.contains(f));
            assert_eq!(lacking.copied().collect::<Vec<_>>(), without, "{major}");
        };
        check(53, "53.0", &[]);
        check(51, "51.0 (untested)", &[]);
        let disks = [Feature::Disk, Feature::ReadOnlyDisk];
        check(50, "50.0 (untested)", &disks);
        check(38, "38.0 (untested)", &[Feature::BootBzimage, disks[0], disks[1]]);
    }

    #[test]
    fn what_is_too_old_is_unavailable() {
        let program = Path::new("/bin/cloud-hypervisor");
        assert!(check(program, CloudHypervisorVersion::OLDEST).is_ok());
        let error = check(program, version(27)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("27.0, expected 28.0 or later"), "{error}");
    }

    #[tokio::test]
    async fn without_its_monitor_it_is_unavailable() {
        let monitor = "/nonexistent/microagent-vmm".into();
        let options = CloudHypervisorOptions { monitor, ..Default::default() };
        let error = CloudHypervisorBackend::new(options).probe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("/nonexistent/microagent-vmm"), "{error}");
    }
}
