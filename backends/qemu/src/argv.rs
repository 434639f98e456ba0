//! The translation of a spec into QEMU's arguments: a pure function.
//!
//! What was measured, so that nobody measures it again: under TCG neither the CPU model nor
//! switching off parts of the machine changes the time of a boot by more than it varies,
//! while `rtc=off` costs a second and `pit=off,pic=off` hangs in the calibration of the TSC.

use std::path::Path;

use microagent_backend::{Error, ErrorKind, Result};
use microagent_machine::{Access, Boot, Disk, MachineSpec, UserNet};
use microagent_vmm_protocol::FIRST_PASSED_FD;
use serde_json::json;

use crate::files;
use crate::options::WayOut;
use crate::slirp;

/// What the backend adds to the guest's arguments: the console, and a reset at the end of
/// everything, since a reset is what makes QEMU exit. Disks and other devices are announced
/// by QEMU itself.
const CMDLINE: &str = "console=ttyS0 reboot=t panic=-1";

/// What it adds where TCG runs the guest. TCG's time stamp counter is the host's and steady,
/// but on a busy host the guest's calibration of it fails, and then a guest with several
/// vCPUs keeps time by a tick of 4 ms. On such a host the timer's first interrupts are late as
/// well, and a kernel that looks for them would take the timer for broken and panic; under KVM
/// none looks.
const CMDLINE_TCG: &str = "tsc=reliable no_timer_check";
/// What the network device does not have: a queue for commands, each of which the guest's driver
/// waits for, and what is asked for by them. There is one host behind it, and no other address.
const NET_WITHOUT: &str = "ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,\
     ctrl_mac_addr=off,ctrl_guest_offloads=off,guest_announce=off";

/// Where QEMU finds the socket of the network device, on which each frame follows its length.
pub(crate) const NET_FD: i32 = FIRST_PASSED_FD;

/// What the arguments depend on beside the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether KVM runs the guest, and not TCG.
    pub(crate) kvm: bool,
    /// Whether this QEMU can filter its own system calls.
    pub(crate) sandbox: bool,
    /// The guest's way to a network.
    pub(crate) way_out: WayOut,
}

/// The arguments, without the program's name. Sockets are named relative to the run
/// directory, QEMU's working directory, since their whole path may be too long for one.
///
/// # Errors
/// `Usage` for a path that is not absolute or not UTF-8.
pub(crate) fn argv(spec: &MachineSpec, boot: &Boot, facts: &Facts) -> Result<Vec<String>> {
    // Exhaustive on purpose: a new field must be translated or refused.
    let MachineSpec { arch: _, vcpus, memory, disks, vsock, net, rng, boot: _ } = spec;
    let mut args = Args(Vec::new());
    args.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot").flag("-S");
    args.pair("-display", "none");
    // The vsock process reads the guest's memory, so that must be shared.
    args.pair("-machine", "microvm,acpi=off,memory-backend=memory");
    let size = format!("{}M", memory.0);
    args.pair("-object", format!("memory-backend-memfd,id=memory,size={size},share=on"));
    args.pair("-m", size).pair("-smp", vcpus.to_string());
    match facts.kvm {
        true => args.pair("-accel", "kvm").pair("-cpu", "host"),
        false => args.pair("-accel", "tcg,thread=multi").pair("-cpu", "max"),
    };
    if facts.sandbox {
        let deny = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        args.pair("-sandbox", deny);
    }
    args.pair("-chardev", "stdio,id=console,signal=off").pair("-serial", "chardev:console");
    args.pair("-chardev", format!("socket,id=owner,path={}", files::OWNER));
    args.pair("-mon", "chardev=owner,mode=control");
    args.pair("-chardev", format!("socket,id=qmp,path={},server=on,wait=off", files::QMP));
    args.pair("-mon", "chardev=qmp,mode=control");
    // The guest numbers disks in the order of these arguments.
    for (index, disk) in disks.iter().enumerate() {
        args.disk(index, disk)?;
    }
    if vsock.is_some() {
        args.pair("-chardev", format!("socket,id=vsock,path={}", files::VHOST));
        args.pair("-device", "vhost-user-vsock-device,chardev=vsock");
    }
    if let Some(net) = net {
        let netdev = match facts.way_out {
            WayOut::Passt => format!("stream,id=net,addr.type=fd,addr.str={NET_FD}"),
            WayOut::Slirp => slirp::netdev(net),
        };
        args.pair("-netdev", netdev);
        let mac = UserNet::MAC.map(|byte| format!("{byte:02x}")).join(":");
        args.pair("-device", format!("virtio-net-device,netdev=net,mac={mac},{NET_WITHOUT}"));
    }
    if *rng {
        args.pair("-object", "rng-builtin,id=entropy");
        args.pair("-device", "virtio-rng-device,rng=entropy");
    }
    args.pair("-kernel", absolute(&boot.kernel)?).pair("-initrd", absolute(&boot.initramfs)?);
    let accelerator = if facts.kvm { "" } else { CMDLINE_TCG };
    let words = [CMDLINE, accelerator, &boot.cmdline];
    args.pair("-append", words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "));
    Ok(args.0)
}

struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn pair(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }

    fn disk(&mut self, index: usize, disk: &Disk) -> Result<()> {
        let Disk { id, path, access } = disk;
        let read_only = *access == Access::ReadOnly;
        // JSON, because a path may hold a comma; in the order of the alphabet, since some
        // builds of serde_json sort and others do not. `locking` keeps two machines from
        // writing to one image; what is only read is claimed by the driver, since QEMU takes a
        // Cloud Hypervisor that reads it for one who suffers nobody else. The cache is the
        // default: what the guest flushes is flushed.
        let node = json!({
            "discard": "unmap",
            "driver": "raw",
            "file": {
                "aio": "threads",
                "driver": "file",
                "filename": absolute(path)?,
                "locking": if read_only { "off" } else { "on" },
                "read-only": read_only,
            },
            "node-name": format!("disk{index}"),
            "read-only": read_only,
        });
        self.pair("-blockdev", node.to_string());
        // Errors are the guest's to see. By default QEMU stops the machine when the host's
        // disk is full, and nobody would let it go on.
        let device =
            format!("virtio-blk-device,drive=disk{index},serial={id},werror=report,rerror=report");
        self.pair("-device", device);
        Ok(())
    }
}

fn absolute(path: &Path) -> Result<&str> {
    let wrong = |what| Error::new(ErrorKind::Usage, format!("path {path:?} {what}"));
    match path.to_str() {
        _ if !path.is_absolute() => Err(wrong("is not absolute")),
        Some(text) => Ok(text),
        None => Err(wrong("is not UTF-8, which is all that qemu can be told")),
    }
}

#[cfg(test)]
mod known;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use microagent_machine::{Arch, Cid, DeviceArguments, DiskId, KernelFormat, MiB, Vsock};

    use super::*;

    pub(super) fn boot() -> Boot {
        Boot {
            kernel: "/kernels/vmlinux".into(),
            format: KernelFormat::Vmlinux,
            initramfs: "/run/initramfs, with a comma".into(),
            cmdline: "quiet".into(),
            device_arguments: DeviceArguments::Unknown,
        }
    }

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

    pub(super) fn whole() -> MachineSpec {
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
            ..smallest()
        }
    }

    /// One option a line, as it would be written by hand.
    fn lines(spec: &MachineSpec, facts: Facts) -> String {
        let args = argv(spec, &boot(), &facts).unwrap();
        let mut text = String::new();
        for arg in &args {
            let option = arg.starts_with('-');
            text.push_str(if option && !text.is_empty() { "\n" } else { "" });
            text.push_str(if option { "" } else { " " });
            text.push_str(arg);
        }
        text
    }

    #[test]
    fn the_smallest_machine() {
        insta::assert_snapshot!(lines(
            &smallest(),
            Facts { kvm: false, sandbox: false, way_out: WayOut::Passt }
        ));
    }

    #[test]
    fn everything_at_once() {
        insta::assert_snapshot!(lines(
            &whole(),
            Facts { kvm: true, sandbox: true, way_out: WayOut::Passt }
        ));
    }

    #[test]
    fn paths_must_be_sayable() {
        let check = |path: &Path, expect: &str| {
            let mut spec = whole();
            spec.disks[0].path = path.to_owned();
            let facts = Facts { kvm: false, sandbox: true, way_out: WayOut::Passt };
            let error = argv(&spec, &boot(), &facts).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.message.contains(expect), "{error}");
        };
        check(Path::new("relative"), "\"relative\" is not absolute");
        check(Path::new(std::ffi::OsStr::from_bytes(b"/\xff")), "is not UTF-8");
    }
}
