//! The backend: what this QEMU can do here, and machines of it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
};
use microagent_backend::{
    Acceleration, Backend, Capabilities, Error, ErrorKind, IsolationPlan, Lifetime, Limits,
    Machine, PowerOff, Result, RunDir, admit,
};
use microagent_machine::{Access, Arch, Boot, Feature, MachineSpec, MiB};

use crate::acceleration::{Host, decide};
use crate::argv::Facts;
use crate::build::{Parts, build};
use crate::cache::Cache;
use crate::identify::Identity;
use crate::limits::{MAX_MEMORY, MAX_VCPUS, VIRTIO_SLOTS};
use crate::locate::locate;
use crate::machine::QemuMachine;
use crate::{QemuOptions, QemuVersion};

/// The name by which users choose it.
pub(crate) const NAME: &str = "qemu";

/// QEMU's `microvm`.
#[derive(Debug)]
pub struct QemuBackend {
    options: QemuOptions,
    cache: Cache,
}

impl QemuBackend {
    /// A backend with these options. Nothing is looked for before it is asked something.
    pub fn new(options: QemuOptions) -> Self {
        let cache = Cache::new(options.cache_dir.clone());
        Self { options, cache }
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
        let acceleration = decide(self.options.accel, &Host::look())?;
        Ok(Found { program, identity, acceleration })
    }
}

/// A QEMU that can be used.
struct Found {
    program: PathBuf,
    identity: Identity,
    acceleration: Acceleration,
}

impl Found {
    fn capabilities(&self) -> Capabilities {
        let Identity { version, microvm: _, sandbox, block, vsock, rng } = self.identity;
        let features = [
            (Feature::BootVmlinux, true),
            (Feature::BootBzimage, true),
            (Feature::Disk, block),
            (Feature::ReadOnlyDisk, block),
            (Feature::Vsock, vsock),
            (Feature::Rng, rng),
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
            limits: Limits {
                vcpus: MAX_VCPUS,
                memory: host_memory().min(MAX_MEMORY),
                virtio_slots: Some(VIRTIO_SLOTS),
                disks: VIRTIO_SLOTS,
            },
            acceleration: self.acceleration.clone(),
            power_off: PowerOff::Reset,
            isolation: IsolationPlan {
                // Guard and vsock always filter their calls; QEMU does where it was built so.
                seccomp: sandbox,
                landlock: landlock_works().is_ok(),
                no_new_privs: true,
                rlimits: true,
            },
        }
    }

    fn facts(&self) -> Facts {
        Facts { kvm: self.acceleration.is_real(), sandbox: self.identity.sandbox }
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
        let rejections = admit(spec, &found.capabilities());
        if !rejections.is_empty() {
            let reasons: Vec<_> = rejections.iter().map(ToString::to_string).collect();
            let message = format!("qemu cannot run this machine: {}", reasons.join("; "));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let Some(boot) = &spec.boot else {
            return Err(Error::new(ErrorKind::Usage, "the machine has no kernel to boot"));
        };
        look_at_disks(spec)?;
        look_for_files(spec, boot)?;
        let parts =
            Parts { vmm: &self.options.monitor, program: &found.program, facts: found.facts() };
        Ok(Box::new(build(&parts, spec, boot, &absolute(dir)?, lifetime).await?))
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        Ok(Box::new(QemuMachine::open(absolute(dir)?)?))
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

/// Whether each disk can be told from the others: the guest knows it by its id, and an image
/// that is written to can have one writer.
fn look_at_disks(spec: &MachineSpec) -> Result<()> {
    let usage = |message: String| Err(Error::new(ErrorKind::Usage, message));
    for (index, disk) in spec.disks.iter().enumerate() {
        let others = &spec.disks[..index];
        if others.iter().any(|other| other.id == disk.id) {
            return usage(format!("two disks have the id '{}'", disk.id));
        }
        let mut same = others.iter().filter(|other| other.path == disk.path).chain([disk]);
        if same.clone().count() > 1 && same.any(|d| d.access == Access::ReadWrite) {
            return usage(format!("{} is two disks, and one is writable", disk.path.display()));
        }
    }
    Ok(())
}

/// Whether the files are there, before anything is started for them.
fn look_for_files(spec: &MachineSpec, boot: &Boot) -> Result<()> {
    let disks = spec.disks.iter().map(|disk| ("disk", &disk.path));
    for (what, path) in
        [("kernel", &boot.kernel), ("initramfs", &boot.initramfs)].into_iter().chain(disks)
    {
        let meta = path.metadata();
        let meta = meta.map_err(|e| Error::io(format!("open {what} {}", path.display()), e))?;
        if !meta.is_file() {
            let message = format!("{what} {} is no regular file", path.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
    }
    Ok(())
}

fn absolute(dir: &RunDir) -> Result<RunDir> {
    let path = std::path::absolute(dir.path())
        .map_err(|e| Error::io(format!("resolve {}", dir.path().display()), e))?;
    Ok(RunDir::at(path))
}

/// All memory that the host has.
fn host_memory() -> MiB {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram as u64 * u64::from(info.mem_unit);
    MiB(u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
}

/// Whether this kernel enforces Landlock, found by making a ruleset that nobody enters.
fn landlock_works() -> std::result::Result<(), RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1))?.create().map(drop)
}

#[cfg(test)]
mod tests {
    use microagent_machine::{Disk, DiskId};

    use super::*;

    fn check(disks: &[(&str, &str, Access)], expect: Option<&str>) {
        let disk = |(id, path, access): &(&str, &str, Access)| Disk {
            id: DiskId::new(*id).unwrap(),
            path: path.into(),
            access: *access,
        };
        let spec = MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: disks.iter().map(disk).collect(),
            vsock: None,
            rng: false,
            boot: None,
        };
        let got = look_at_disks(&spec).map_err(|e| (e.kind, e.message)).err();
        assert_eq!(got, expect.map(|text| (ErrorKind::Usage, text.to_owned())), "{disks:?}");
    }

    #[test]
    fn disks_are_told_apart() {
        use Access::{ReadOnly, ReadWrite};
        check(&[], None);
        check(&[("a", "/1", ReadWrite), ("b", "/2", ReadWrite)], None);
        check(&[("a", "/1", ReadOnly), ("b", "/1", ReadOnly)], None);
        check(&[("a", "/1", ReadOnly), ("a", "/2", ReadOnly)], Some("two disks have the id 'a'"));
        let twice = Some("/1 is two disks, and one is writable");
        check(&[("a", "/1", ReadOnly), ("b", "/1", ReadWrite)], twice);
        check(&[("a", "/1", ReadWrite), ("b", "/1", ReadOnly)], twice);
    }
}
