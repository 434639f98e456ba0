//! What the native monitor is to build, and how it says that it is over.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most vCPUs of one machine.
pub const MAX_VCPUS: u8 = 32;
/// Most guest memory: 1 TiB.
pub const MAX_MEMORY_MIB: u32 = 1 << 20;
/// Most virtio devices of one machine: each has a line of the I/O APIC of its own, from line 5
/// to line 23, the last.
pub const VIRTIO_SLOTS: u8 = 19;

/// Exit code of a monitor whose guest powered itself off by the exit port.
pub const EXIT_POWER_OFF: u8 = 0;
/// Exit code of a monitor whose guest asked for a reset or whose processor shut down.
pub const EXIT_RESET: u8 = 3;

/// A machine for the native monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u8,
    /// Guest memory in MiB, 1 to [`MAX_MEMORY_MIB`].
    pub memory_mib: u32,
    /// The kernel's file, an absolute path.
    pub kernel: PathBuf,
    /// How it is entered.
    pub image: KernelImage,
    /// The initramfs, an absolute path.
    pub initramfs: PathBuf,
    /// Arguments for the guest, without those that the monitor adds itself.
    pub cmdline: String,
    /// How the guest learns of its devices.
    pub announcement: Announcement,
    /// Block devices, in the guest's order.
    pub disks: Vec<MonitorDisk>,
    /// The vsock device; its listener is [`VSOCK_LISTENER_FD`](crate::VSOCK_LISTENER_FD).
    pub vsock: Option<MonitorVsock>,
    /// Whether the guest gets a source of entropy.
    pub rng: bool,
    /// The network device; its host end is [`NET_FD`](crate::NET_FD).
    pub net: Option<MonitorNet>,
    /// Whether there is a virtio console beside the serial line; both write to standard
    /// output.
    pub virtio_console: bool,
}

/// How a kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelImage {
    /// An ELF file: by its PVH note, else by the 64-bit Linux boot protocol.
    Vmlinux,
    /// A compressed kernel: by the 64-bit Linux boot protocol.
    BzImage,
}

/// How a guest learns of its devices. A guest that learnt of them twice would set each up
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Announcement {
    /// By `virtio_mmio.device=` arguments, with processors in an MP table and `acpi=off`: for
    /// kernels that are known to read both.
    Arguments,
    /// By ACPI tables alone: for any other kernel.
    Acpi,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorDisk {
    /// Its serial number, 1 to 20 bytes.
    pub id: String,
    /// The raw image, an absolute path.
    pub path: PathBuf,
    /// Whether the device refuses writes.
    pub read_only: bool,
}

/// The vsock device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorVsock {
    /// The guest's context id.
    pub cid: u32,
    /// File name in the working directory of the hybrid socket; a guest's connection to port
    /// `p` goes to `<socket>_<p>`.
    pub socket: String,
}

/// The network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorNet {
    /// The guest's address.
    pub mac: [u8; 6],
    /// What its host end is.
    pub kind: NetKind,
}

/// The host end of a network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetKind {
    /// A stream socket on which each frame follows its length, 4 bytes in network order: what
    /// passt and QEMU's `-netdev stream` speak.
    Stream,
    /// A tap device, opened with `IFF_NO_PI` and without a virtio header.
    Tap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire() {
        let json = [
            serde_json::to_string(&Announcement::Acpi),
            serde_json::to_string(&KernelImage::BzImage),
            serde_json::to_string(&NetKind::Stream),
        ];
        let json = json.map(|text| text.unwrap());
        assert_eq!(json, ["\"acpi\"", "\"bzimage\"", "\"stream\""]);
    }
}
