//! What Cloud Hypervisor is asked to be, in its own words (its `VmConfig`), as far as they are
//! used here.

use std::path::PathBuf;

use serde::Serialize;

/// A whole machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VmConfig {
    pub(crate) cpus: Cpus,
    pub(crate) memory: Memory,
    pub(crate) payload: Payload,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<Disk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vsock: Option<Vsock>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) net: Vec<Net>,
    pub(crate) rng: Rng,
    pub(crate) serial: Serial,
    pub(crate) console: Serial,
}

/// Processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cpus {
    pub(crate) boot_vcpus: u32,
    pub(crate) max_vcpus: u32,
    /// Whether the guest may have guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nested: Option<bool>,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// In bytes.
    pub(crate) size: u64,
    /// Whether other processes may map it.
    pub(crate) shared: bool,
}

/// What is booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Payload {
    pub(crate) kernel: PathBuf,
    pub(crate) cmdline: String,
    pub(crate) initramfs: PathBuf,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Disk {
    /// What its counters are called.
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) readonly: bool,
    /// What the guest finds it by.
    pub(crate) serial: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_type: Option<ImageType>,
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum ImageType {
    /// Nothing but the blocks of the disk.
    Raw,
}

/// The vsock device, and its hybrid socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Vsock {
    pub(crate) id: String,
    pub(crate) cid: u32,
    pub(crate) socket: PathBuf,
}

/// The network device, which another process serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Net {
    pub(crate) id: String,
    pub(crate) mac: String,
    pub(crate) vhost_user: bool,
    pub(crate) vhost_socket: PathBuf,
    pub(crate) num_queues: u32,
    pub(crate) queue_size: u16,
}

/// The source of entropy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rng {
    pub(crate) src: PathBuf,
}

/// What the guest writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Serial {
    pub(crate) mode: SerialMode,
}

/// Where that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum SerialMode {
    /// To standard output, terminal or not.
    Tty,
    /// There is no such device.
    Off,
}
