//! The machine that is asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Access, Cid, Disk, Feature, MiB, UserNet};

/// All that a backend is told about a machine.
///
/// A field that is added here does not compile until [`MachineSpec::required_features`]
/// says which feature it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// The instruction set of the guest.
    pub arch: Arch,
    /// Number of virtual CPUs, at least 1.
    pub vcpus: u32,
    /// Guest memory.
    pub memory: MiB,
    /// Block devices in the order in which the guest shall number them; the guest tells
    /// them apart by [`Disk::id`]. Ids and writable paths are unique.
    pub disks: Vec<Disk>,
    /// The vsock device; without one there is no way to talk to the guest.
    pub vsock: Option<Vsock>,
    /// The network; without one the guest has no network device.
    pub net: Option<UserNet>,
    /// Whether the guest gets a source of entropy.
    pub rng: bool,
    /// What to boot; `None` until a kernel was picked, and then `create` refuses it.
    pub boot: Option<Boot>,
}

/// The instruction set of a guest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86, as `uname -m` names it.
    X86_64,
}

impl Arch {
    /// The architecture of this program, and so of every guest that it can run.
    pub const HOST: Arch = Arch::X86_64;

    /// The name that `uname -m` prints.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
        }
    }
}

/// The guest's vsock device. Its host side is always a hybrid Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's context id.
    pub cid: Cid,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// What kind of file it is, found by content.
    pub format: KernelFormat,
    /// The initramfs: one or more concatenated cpio archives in one file.
    pub initramfs: PathBuf,
    /// Arguments for the guest, without those that a backend adds itself (console, devices
    /// and the way to reset).
    pub cmdline: String,
    /// Whether the kernel can be told of its devices by arguments.
    pub device_arguments: DeviceArguments,
}

/// Whether a kernel can be told of its devices by arguments (`virtio_mmio.device=`, with an
/// MP table for processors and interrupts). A property of the kernel, so that a backend that
/// announces devices itself can do it in the one way that this kernel sees, and no more:
/// a kernel that learnt of them twice would set each up twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceArguments {
    /// It is known to read them.
    Understood,
    /// It is not known to; it reads ACPI tables, as every kernel of a distribution does.
    #[default]
    Unknown,
}

/// The kind of a kernel file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KernelFormat {
    /// Uncompressed ELF with a PVH note.
    Vmlinux,
    /// Compressed, entered by the Linux boot protocol.
    BzImage,
}

impl KernelFormat {
    /// The feature that a backend needs for it.
    pub const fn feature(self) -> Feature {
        match self {
            KernelFormat::Vmlinux => Feature::BootVmlinux,
            KernelFormat::BzImage => Feature::BootBzimage,
        }
    }
}

impl MachineSpec {
    /// The features without which this machine cannot be what it is asked to be.
    pub fn required_features(&self) -> BTreeSet<Feature> {
        // Exhaustive on purpose: a new field must decide here.
        let Self { arch: _, vcpus, memory: _, disks, vsock, net, rng, boot } = self;
        let mut needs = BTreeSet::from([Feature::Console]);
        if *vcpus > 1 {
            needs.insert(Feature::MultipleVcpus);
        }
        needs.extend(disks.iter().map(|disk| match disk.access {
            Access::ReadOnly => Feature::ReadOnlyDisk,
            Access::ReadWrite => Feature::Disk,
        }));
        if vsock.is_some() {
            needs.insert(Feature::Vsock);
        }
        if net.is_some() {
            needs.insert(Feature::UserNet);
        }
        if *rng {
            needs.insert(Feature::Rng);
        }
        if let Some(boot) = boot {
            needs.insert(boot.format.feature());
        }
        needs
    }

    /// How many virtio devices the machine has beside its disks.
    pub fn other_devices(&self) -> u32 {
        let Self { arch: _, vcpus: _, memory: _, disks: _, vsock, net, rng, boot: _ } = self;
        u32::from(vsock.is_some()) + u32::from(net.is_some()) + u32::from(*rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskId;

    fn smallest() -> MachineSpec {
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: None,
        }
    }

    fn check(change: impl FnOnce(&mut MachineSpec), expect: &[Feature]) {
        let mut spec = smallest();
        change(&mut spec);
        let mut expect: BTreeSet<_> = expect.iter().copied().collect();
        expect.insert(Feature::Console);
        assert_eq!(spec.required_features(), expect, "{spec:?}");
    }

    fn disk(access: Access) -> Disk {
        Disk { id: DiskId::new("d").unwrap(), path: "/d".into(), access }
    }

    #[test]
    fn each_wish_needs_its_feature() {
        check(|_| (), &[]);
        check(|s| s.vcpus = 2, &[Feature::MultipleVcpus]);
        check(|s| s.rng = true, &[Feature::Rng]);
        check(|s| s.net = Some(UserNet::default()), &[Feature::UserNet]);
        check(|s| s.vsock = Some(Vsock { cid: Cid::GUEST }), &[Feature::Vsock]);
        check(|s| s.disks.push(disk(Access::ReadOnly)), &[Feature::ReadOnlyDisk]);
        check(|s| s.disks.push(disk(Access::ReadWrite)), &[Feature::Disk]);
    }

    #[test]
    fn unknown_fields_are_errors() {
        let mut json = serde_json::to_value(smallest()).unwrap();
        json["colour"] = "blue".into();
        assert!(serde_json::from_value::<MachineSpec>(json).is_err());
    }
}
