//! The backend: what the native monitor can do here, and machines of it.

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
use microagent_machine::{Arch, Feature, MachineSpec, MiB};
use microagent_vmm_protocol::{MAX_MEMORY_MIB, MAX_VCPUS, VIRTIO_SLOTS};

use crate::KvmOptions;
use crate::acceleration::decide;
use crate::build::{Parts, build};
use crate::machine::KvmMachine;

/// The name by which users choose it.
pub(crate) const NAME: &str = "kvm";

/// What the native monitor does, wherever it can do anything.
const FEATURES: &[Feature] = &[
    Feature::BootVmlinux,
    Feature::BootBzimage,
    Feature::Disk,
    Feature::ReadOnlyDisk,
    Feature::Vsock,
    Feature::Rng,
    Feature::MultipleVcpus,
    Feature::Console,
    Feature::Pause,
    Feature::Detached,
];

/// The native monitor.
#[derive(Debug)]
pub struct KvmBackend {
    options: KvmOptions,
    probe: KvmProbe,
}

impl KvmBackend {
    /// A backend with these options. Nothing is looked for before it is asked something.
    pub fn new(options: KvmOptions) -> Self {
        let probe = KvmProbe::new(options.cache_dir.as_deref());
        Self { options, probe }
    }

    /// What can be done here, and with which passt.
    async fn find(&self) -> Result<(Capabilities, Option<PathBuf>)> {
        let monitor = &self.options.monitor;
        if !monitor.is_file() {
            let message = format!("there is no monitor program {}", monitor.display());
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_hint("install microagent-vmm beside microagent"));
        }
        let report = self.probe.report(monitor).await?;
        let passt = locate_passt().ok();
        let acceleration = decide(report, self.options.emulated)?;
        Ok((capabilities(acceleration, passt.as_deref()), passt))
    }
}

fn capabilities(acceleration: Acceleration, passt: Option<&Path>) -> Capabilities {
    let remedy = passt.is_none().then(|| (Feature::UserNet, INSTALL_PASST.to_owned()));
    Capabilities {
        backend: NAME.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        architectures: vec![Arch::X86_64],
        features: FEATURES.iter().copied().chain(passt.map(|_| Feature::UserNet)).collect(),
        remedies: BTreeMap::from_iter(remedy),
        cautions: BTreeMap::new(),
        limits: Limits {
            vcpus: MAX_VCPUS.into(),
            memory: memory().min(MiB(MAX_MEMORY_MIB)),
            virtio_slots: Some(VIRTIO_SLOTS.into()),
            disks: VIRTIO_SLOTS.into(),
        },
        acceleration,
        power_off: PowerOff::ExitPort,
        isolation: IsolationPlan {
            seccomp: true,
            landlock: landlock_works(),
            no_new_privs: true,
            rlimits: true,
        },
    }
}

#[async_trait]
impl Backend for KvmBackend {
    fn name(&self) -> &str {
        NAME
    }

    async fn probe(&self) -> Result<Capabilities> {
        Ok(self.find().await?.0)
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let (capabilities, passt) = self.find().await?;
        let boot = admitted(spec, &capabilities)?;
        let dir = absolute_dir(dir)?;
        let parts = Parts { vmm: &self.options.monitor, passt: passt.as_deref() };
        Ok(Box::new(build(&parts, spec, boot, &dir, lifetime).await?))
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        Ok(Box::new(KvmMachine::open(absolute_dir(dir)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_its_monitor_it_is_unavailable() {
        let monitor = "/nonexistent/microagent-vmm".into();
        let backend = KvmBackend::new(KvmOptions { monitor, ..KvmOptions::default() });
        let error = backend.probe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("/nonexistent/microagent-vmm"), "{error}");
    }
}
