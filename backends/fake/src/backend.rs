//! The backend: what it offers, and what it refuses.

use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use microagent_backend::{
    Acceleration, Backend, Capabilities, Error, ErrorKind, IsolationPlan, Lifetime, Limits,
    Machine, PowerOff, Result, RunDir, admit,
};
use microagent_machine::{Access, Arch, Boot, Feature, MachineSpec, MiB};

use crate::build;
use crate::machine::FakeMachine;
use crate::record::Record;

/// The shell that runs guards and guests.
pub(crate) const SHELL: &str = "/bin/sh";

/// Most disks of a machine.
const MAX_DISKS: u32 = 4;
/// Most memory of a machine, which nobody ever allocates: a number to be refused above.
const MAX_MEMORY: MiB = MiB(1 << 20);

/// Machines that are shell scripts; see the crate's description.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeBackend;

impl FakeBackend {
    /// A backend; all of them are alike.
    pub const fn new() -> Self {
        Self
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            backend: "fake".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            architectures: vec![Arch::HOST],
            features: BTreeSet::from([
                Feature::BootVmlinux,
                Feature::Console,
                Feature::Detached,
                Feature::Disk,
                Feature::Pause,
                Feature::ReadOnlyDisk,
            ]),
            remedies: Default::default(),
            cautions: Default::default(),
            limits: Limits { vcpus: 1, memory: MAX_MEMORY, virtio_slots: None, disks: MAX_DISKS },
            acceleration: Acceleration::Emulated { evidence: "guests are shell scripts".into() },
            power_off: PowerOff::Acpi,
            isolation: IsolationPlan::default(),
        }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> &str {
        "fake"
    }

    async fn probe(&self) -> Result<Capabilities> {
        if std::path::Path::new(SHELL).exists() {
            Ok(Self::capabilities())
        } else {
            Err(Error::new(ErrorKind::Unavailable, format!("there is no {SHELL}"))
                .with_hint("install a POSIX shell"))
        }
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let boot = check(spec, &self.probe().await?)?;
        let record = build::build(spec, boot, dir, lifetime).await?;
        Ok(Box::new(FakeMachine::new(dir.clone(), record)))
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        Ok(Box::new(FakeMachine::new(dir.clone(), Record::read(dir)?)))
    }
}

/// Refuses what is not offered and what makes no sense.
fn check<'a>(spec: &'a MachineSpec, caps: &Capabilities) -> Result<&'a Boot> {
    let rejections: Vec<_> = admit(spec, caps).iter().map(ToString::to_string).collect();
    if !rejections.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, format!("fake: {}", rejections.join("; "))));
    }
    let mut ids = HashSet::new();
    let mut writable = HashSet::new();
    for disk in &spec.disks {
        if !ids.insert(&disk.id) {
            return Err(Error::new(ErrorKind::Usage, format!("two disks have the id {}", disk.id)));
        }
        if disk.access == Access::ReadWrite && !writable.insert(&disk.path) {
            let message = format!("two writable disks are {}", disk.path.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
    }
    let no_kernel = || Error::new(ErrorKind::Usage, "the machine has no kernel to boot");
    spec.boot.as_ref().ok_or_else(no_kernel)
}
