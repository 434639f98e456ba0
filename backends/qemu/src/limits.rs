//! How much of everything, and how long for everything.

use std::time::Duration;

use microagent_machine::MiB;

/// Virtio-mmio transports of `microvm` with `acpi=off` (QEMU, `hw/i386/microvm.c`: more
/// need the second I/O APIC, which only ACPI announces).
pub(crate) const VIRTIO_SLOTS: u32 = 8;
/// Most vCPUs of `microvm` (`mc->max_cpus` there).
pub(crate) const MAX_VCPUS: u32 = 288;
/// Most memory: the 40 address bits that every emulated processor has, less the hole below
/// 4 GiB.
pub(crate) const MAX_MEMORY: MiB = MiB((1 << 20) - (4 << 10));

/// How long the processes of a machine may take until all devices are built.
pub(crate) const BUILD_WITHIN: Duration = Duration::from_secs(30);
/// How long a reply to a QMP command may take.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Longest line that QEMU may send over QMP, in bytes. The longest reply to what is asked
/// here is under 1 KiB; the rest is room for what later versions add.
pub(crate) const MAX_QMP_LINE: usize = 1 << 20;
/// Longest name of an event or of a reason that is kept, in bytes.
pub(crate) const MAX_QMP_NAME: usize = 64;
