//! The translation of a spec into the monitor's: a pure function.

use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result};
use microagent_machine::{Access, Boot, DeviceArguments, Disk, KernelFormat, MachineSpec, UserNet};
use microagent_vmm_protocol::{
    Announcement, KernelImage, MonitorDisk, MonitorNet, MonitorSpec, MonitorVsock, NetKind, VERSION,
};

use crate::files;

/// What the monitor is told. The console, the way to reset and the devices are its own to
/// announce.
///
/// # Errors
/// `Usage` for a path that is not absolute or not UTF-8, `Unsupported` for more vCPUs than can
/// be said.
pub(crate) fn monitor_spec(spec: &MachineSpec, boot: &Boot) -> Result<MonitorSpec> {
    // Exhaustive on purpose: a new field must be translated or refused.
    let MachineSpec { arch: _, vcpus, memory, disks, vsock, net, rng, boot: _ } = spec;
    let Boot { kernel, format, initramfs, cmdline, device_arguments } = boot;
    Ok(MonitorSpec {
        version: VERSION,
        vcpus: u8::try_from(*vcpus).map_err(|_| {
            Error::new(ErrorKind::Unsupported, format!("{vcpus} vCPUs are more than can be had"))
        })?,
        memory_mib: memory.0,
        kernel: absolute(kernel)?,
        image: match format {
            KernelFormat::Vmlinux => KernelImage::Vmlinux,
            KernelFormat::BzImage => KernelImage::BzImage,
        },
        initramfs: absolute(initramfs)?,
        cmdline: cmdline.clone(),
        announcement: match device_arguments {
            DeviceArguments::Understood => Announcement::Arguments,
            DeviceArguments::Unknown => Announcement::Acpi,
        },
        disks: disks.iter().map(disk).collect::<Result<_>>()?,
        vsock: vsock
            .map(|vsock| MonitorVsock { cid: vsock.cid.get(), socket: files::VSOCK.into() }),
        rng: *rng,
        net: net.as_ref().map(|_| MonitorNet { mac: UserNet::MAC, kind: NetKind::Stream }),
        // The serial line is what every kernel can write to; a second would say the same.
        virtio_console: false,
    })
}

fn disk(disk: &Disk) -> Result<MonitorDisk> {
    let Disk { id, path, access } = disk;
    Ok(MonitorDisk {
        id: id.as_str().to_owned(),
        path: absolute(path)?,
        read_only: *access == Access::ReadOnly,
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let wrong = |what| Err(Error::new(ErrorKind::Usage, format!("path {path:?} {what}")));
    match path.to_str() {
        _ if !path.is_absolute() => wrong("is not absolute"),
        Some(_) => Ok(path.to_owned()),
        None => wrong("is not UTF-8, which is all that the monitor can be told"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::ffi::OsStrExt;

    use microagent_machine::{Arch, Cid, DiskId, MiB, Vsock};

    use super::*;

    pub(crate) fn smallest() -> MachineSpec {
        MachineSpec {
            arch: Arch::X86_64,
            vcpus: 1,
            memory: MiB(128),
            disks: Vec::new(),
            vsock: None,
            net: None,
            rng: false,
            boot: Some(Boot {
                kernel: "/kernels/bzImage".into(),
                format: KernelFormat::BzImage,
                initramfs: "/run/initramfs".into(),
                cmdline: String::new(),
                device_arguments: DeviceArguments::Unknown,
            }),
        }
    }

    fn whole() -> MachineSpec {
        let disk = |id: &str, path: &str, access| Disk {
            id: DiskId::new(id).unwrap(),
            path: path.into(),
            access,
        };
        MachineSpec {
            vcpus: 4,
            memory: MiB(2048),
            disks: vec![
                disk("base", "/cache/base,1.ext4", Access::ReadOnly),
                disk("scratch", "/state/scratch", Access::ReadWrite),
            ],
            vsock: Some(Vsock { cid: Cid::GUEST }),
            net: Some(UserNet::default()),
            rng: true,
            boot: Some(Boot {
                kernel: "/kernels/vmlinux".into(),
                format: KernelFormat::Vmlinux,
                initramfs: "/run/initramfs, with a comma".into(),
                cmdline: "quiet".into(),
                device_arguments: DeviceArguments::Understood,
            }),
            ..smallest()
        }
    }

    fn translated(spec: &MachineSpec) -> Result<MonitorSpec> {
        monitor_spec(spec, spec.boot.as_ref().unwrap())
    }

    #[test]
    fn the_smallest_machine() {
        insta::assert_json_snapshot!(translated(&smallest()).unwrap());
    }

    #[test]
    fn everything_at_once() {
        insta::assert_json_snapshot!(translated(&whole()).unwrap());
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let check = |change: &dyn Fn(&mut MachineSpec), kind, expect: &str| {
            let mut spec = whole();
            change(&mut spec);
            let error = translated(&spec).unwrap_err();
            assert_eq!(error.kind, kind);
            assert!(error.message.contains(expect), "{error}");
        };
        let relative = |spec: &mut MachineSpec| spec.disks[0].path = "relative".into();
        check(&relative, ErrorKind::Usage, "\"relative\" is not absolute");
        let bytes = |spec: &mut MachineSpec| {
            spec.disks[1].path = PathBuf::from(std::ffi::OsStr::from_bytes(b"/\xff"));
        };
        check(&bytes, ErrorKind::Usage, "is not UTF-8");
        check(&|spec| spec.vcpus = 256, ErrorKind::Unsupported, "256 vCPUs");
    }
}
