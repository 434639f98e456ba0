//! How much of everything, and how long for everything.

use std::time::Duration;

use microagent_machine::MiB;

/// Slots of its one PCI bus for disks, vsock and entropy: 32, less the host bridge and the
/// entropy device, which a guest has even where none was asked for (Cloud Hypervisor,
/// `vmm/src/device_manager.rs`).
pub(crate) const VIRTIO_SLOTS: u32 = 30;
/// Most vCPUs that every version takes: their numbers were bytes, of which x86 leaves 254.
pub(crate) const MAX_VCPUS: u32 = 254;
/// Most memory: the 46 address bits of its default, less room for devices below and above.
pub(crate) const MAX_MEMORY: MiB = MiB(32 << 20);

/// How long it may take until it answers and knows what its machine is.
pub(crate) const BUILD_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take until the guest runs: this is when it gets memory and loads the
/// kernel.
pub(crate) const BOOT_WITHIN: Duration = Duration::from_secs(30);
/// How long any other reply may take.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Longest reply, in bytes. The longest to what is asked here, about a machine with 30 disks,
/// has some 40 KiB; the rest is room for what later versions add.
pub(crate) const MAX_REPLY: usize = 1 << 20;
/// Longest head of a reply, in bytes.
pub(crate) const MAX_REPLY_HEAD: usize = 16 << 10;
/// Most fields in the head of a reply.
pub(crate) const MAX_REPLY_FIELDS: usize = 32;
/// Most messages of one error that are quoted.
pub(crate) const MAX_MESSAGES: usize = 16;
/// Longest text of its that is quoted, in bytes.
pub(crate) const MAX_QUOTED: usize = 1 << 10;
/// Longest name of a device, in bytes.
pub(crate) const MAX_DEVICE_NAME: usize = 64;
/// Most devices that it may count for: what fills its bus.
pub(crate) const MAX_DEVICES: usize = 32;
