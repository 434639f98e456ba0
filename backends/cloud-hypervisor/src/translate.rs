//! The translation of a spec into a `VmConfig`: a pure function.

use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use microagent_machine::{Access, Boot, MachineSpec, UserNet};

use crate::CloudHypervisorVersion;
use crate::files;
use crate::vm_config::{
    Cpus, Disk, ImageType, Memory, Net, Payload, Rng, Serial, SerialMode, VmConfig, Vsock,
};

/// What the backend adds to the guest's arguments: the console, and a quick way to reset.
/// Devices are on a PCI bus, which ACPI announces.
const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1";
/// What the names of disks begin with, so that none is any other device's.
pub(crate) const DISK: &str = "block-";
/// The name of the vsock device.
pub(crate) const VSOCK: &str = "vsock";

/// The name of the network device.
const NET: &str = "net";

/// What Cloud Hypervisor of this version is asked to be, in the run directory `dir`. The
/// socket is named relative to that, its working directory, since the whole path may be too
/// long for one.
///
/// # Errors
/// `Usage` for a path that is not absolute or not UTF-8.
pub(crate) fn vm_config(
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    version: CloudHypervisorVersion,
) -> Result<VmConfig> {
    // Exhaustive on purpose: a new field must be translated or refused.
    let MachineSpec { arch: _, vcpus, memory, disks, vsock, net, rng: _, boot: _ } = spec;
    let Boot { kernel, format: _, initramfs, cmdline, device_arguments: _ } = boot;
    // What the link leads to; it is the link that is asked for.
    absolute(kernel)?;
    let words = [CMDLINE, cmdline].into_iter().filter(|w| !w.is_empty());
    Ok(VmConfig {
        cpus: Cpus {
            boot_vcpus: *vcpus,
            max_vcpus: *vcpus,
            nested: version.can_refuse_nesting().then_some(false),
        },
        // The process of the network device reads it.
        memory: Memory { size: memory.bytes(), shared: net.is_some() },
        payload: Payload {
            kernel: absolute(&dir.file(files::KERNEL))?,
            cmdline: words.collect::<Vec<_>>().join(" "),
            initramfs: absolute(initramfs)?,
        },
        disks: disks.iter().map(|d| disk(d, version)).collect::<Result<_>>()?,
        vsock: vsock.map(|vsock| Vsock {
            id: VSOCK.into(),
            cid: vsock.cid.get(),
            socket: files::VSOCK.into(),
        }),
        net: net.iter().map(|_| network()).collect(),
        // It is there in any case, so where it gets its entropy is said in any case.
        rng: Rng { src: "/dev/urandom".into() },
        serial: Serial { mode: SerialMode::Tty },
        console: Serial { mode: SerialMode::Off },
    })
}

fn network() -> Net {
    Net {
        id: NET.into(),
        mac: UserNet::MAC.map(|byte| format!("{byte:02x}")).join(":"),
        vhost_user: true,
        vhost_socket: files::NET.into(),
        num_queues: 2,
        queue_size: 256,
    }
}

fn disk(disk: &microagent_machine::Disk, version: CloudHypervisorVersion) -> Result<Disk> {
    let microagent_machine::Disk { id, path, access } = disk;
    Ok(Disk {
        id: format!("{DISK}{id}"),
        path: absolute(path)?,
        readonly: *access == Access::ReadOnly,
        serial: id.as_str().to_owned(),
        image_type: version.is_told_image_type().then_some(ImageType::Raw),
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let wrong = |what| Err(Error::new(ErrorKind::Usage, format!("path {path:?} {what}")));
    match path.to_str() {
        _ if !path.is_absolute() => wrong("is not absolute"),
        Some(_) => Ok(path.to_owned()),
        None => wrong("is not UTF-8, which is all that cloud-hypervisor can be told"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::ffi::OsStrExt;

    use microagent_machine::{Arch, Cid, DeviceArguments, DiskId, KernelFormat, MiB};

    use super::*;

    const EARLY: CloudHypervisorVersion = CloudHypervisorVersion { major: 38, minor: 0 };
    const TODAY: CloudHypervisorVersion = CloudHypervisorVersion { major: 53, minor: 0 };

    fn smallest() -> MachineSpec {
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: Some(Boot {
                kernel: "/kernels/vmlinux".into(),
                format: KernelFormat::Vmlinux,
                initramfs: "/run/initramfs".into(),
                cmdline: String::new(),
                device_arguments: DeviceArguments::Unknown,
            }),
        }
    }

    fn whole() -> MachineSpec {
        let disk = |id: &str, path: &str, access| microagent_machine::Disk {
            id: DiskId::new(id).unwrap(),
            path: path.into(),
            access,
        };
        MachineSpec {
            vcpus: 4,
            memory: MiB(2048),
            disks: vec![
                disk("base", "/cache/base,1.ext4", Access::ReadOnly),
                disk("vsock", "/state/scratch", Access::ReadWrite),
            ],
            vsock: Some(microagent_machine::Vsock { cid: Cid::GUEST }),
            net: Some(UserNet::default()),
            rng: true,
            boot: Some(Boot {
                initramfs: "/run/initramfs, with a comma".into(),
                cmdline: "quiet".into(),
                device_arguments: DeviceArguments::Understood,
                ..smallest().boot.unwrap()
            }),
            ..smallest()
        }
    }

    fn translated(spec: &MachineSpec, version: CloudHypervisorVersion) -> Result<VmConfig> {
        vm_config(spec, spec.boot.as_ref().unwrap(), &RunDir::at("/run/m"), version)
    }

    /// What the whole machine is asked to be.
    pub(crate) fn asked() -> VmConfig {
        translated(&whole(), TODAY).unwrap()
    }

    #[test]
    fn the_smallest_machine_on_an_early_version() {
        insta::assert_json_snapshot!(translated(&smallest(), EARLY).unwrap());
    }

    #[test]
    fn everything_at_once() {
        insta::assert_json_snapshot!(asked());
    }

    #[test]
    fn paths_must_be_sayable() {
        let check = |change: &dyn Fn(&mut MachineSpec), expect: &str| {
            let mut spec = whole();
            change(&mut spec);
            let error = translated(&spec, TODAY).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.message.contains(expect), "{error}");
        };
        check(&|s| s.disks[0].path = "relative".into(), "\"relative\" is not absolute");
        check(&|s| s.boot.as_mut().unwrap().kernel = "vmlinux".into(), "\"vmlinux\" is not");
        let bytes = PathBuf::from(std::ffi::OsStr::from_bytes(b"/\xff"));
        check(&|s| s.disks[1].path = bytes.clone(), "is not UTF-8");
    }
}
