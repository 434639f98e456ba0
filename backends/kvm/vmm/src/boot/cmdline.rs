//! The kernel's arguments.
//!
//! What is not here, and why it is not needed (Linux 6.1): `no_timer_check` and `lpj`, which
//! a kernel under KVM decides itself; `tsc=reliable`, which is right only on hosts where the
//! kernel comes to it by what the processor says; `i8042.*`, since the kernel that gets
//! arguments has no driver for it, and any other reads in the FADT that there is none.

use linux_loader::cmdline::Cmdline;
use microagent_vmm_protocol::Announcement;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{BootError, DeviceSlot};
use crate::arch::layout::CMDLINE;

/// For every kernel. A reset by triple fault is one exit; by the keyboard controller, which
/// is asked first whether it is ready, it would be hundreds of thousands. There is no PCI: each
/// slot that was looked into would be two exits.
const ALWAYS: &str = "console=ttyS0 reboot=t panic=-1 pci=off";
/// For a kernel that learns of its devices by arguments, and must not look for them elsewhere.
const WITHOUT_ACPI: &str = "acpi=off";
/// For any other: ports of serial lines that are not there are not tried.
const WITH_ACPI: &str = "8250.nr_uarts=1";

/// All arguments, those of `wanted` last.
pub(super) fn build(
    wanted: &str,
    announcement: Announcement,
    devices: &[DeviceSlot],
) -> Result<Cmdline, BootError> {
    // How long it may be depends on the kernel; see `write`.
    let mut cmdline = Cmdline::new(usize::MAX).map_err(BootError::Cmdline)?;
    let mut add = |text: &str| cmdline.insert_str(text).map_err(BootError::Cmdline);
    add(ALWAYS)?;
    match announcement {
        Announcement::Acpi => add(WITH_ACPI)?,
        Announcement::Arguments => {
            add(WITHOUT_ACPI)?;
            for DeviceSlot { base, len, gsi } in devices {
                cmdline
                    .add_virtio_mmio_device(*len, GuestAddress(*base), *gsi, None)
                    .map_err(BootError::Cmdline)?;
            }
        }
    }
    if !wanted.trim().is_empty() {
        cmdline.insert_str(wanted).map_err(BootError::Cmdline)?;
    }
    Ok(cmdline)
}

/// Writes them to where the kernel finds them, if they are not longer than `max` bytes.
pub(super) fn write(
    memory: &GuestMemoryMmap,
    cmdline: &Cmdline,
    max: usize,
) -> Result<(), BootError> {
    let text = cmdline.as_cstring().map_err(BootError::Cmdline)?;
    let len = text.as_bytes().len();
    if len > max {
        return Err(BootError::CmdlineTooLong { len, max });
    }
    memory
        .write_slice(text.as_bytes_with_nul(), GuestAddress(CMDLINE))
        .map_err(|source| BootError::Write { what: "arguments", at: CMDLINE, source })
}

#[cfg(test)]
mod tests {
    use microagent_vmm_protocol::VIRTIO_SLOTS;

    use super::*;
    use crate::arch::layout::{CMDLINE_MAX, CMDLINE_ROOM};

    fn text(wanted: &str, announcement: Announcement, devices: &[DeviceSlot]) -> String {
        let cmdline = build(wanted, announcement, devices).unwrap();
        cmdline.as_cstring().unwrap().into_string().unwrap()
    }

    #[test]
    fn devices_are_told_once() {
        let devices = [DeviceSlot::of(0), DeviceSlot::of(18)];
        let check = |wanted, announcement, expect: &str| {
            assert_eq!(text(wanted, announcement, &devices), expect);
        };
        check(
            "quiet",
            Announcement::Arguments,
            "console=ttyS0 reboot=t panic=-1 pci=off acpi=off \
             virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0012000:23 quiet",
        );
        check("  ", Announcement::Acpi, "console=ttyS0 reboot=t panic=-1 pci=off 8250.nr_uarts=1");
        check(
            "console=hvc0 -- single",
            Announcement::Acpi,
            "console=ttyS0 reboot=t panic=-1 pci=off 8250.nr_uarts=1 console=hvc0 -- single",
        );
    }

    #[test]
    fn what_no_kernel_reads_is_refused() {
        for wanted in ["a\0b", "a\nb", "caf\u{e9}"] {
            let error = build(wanted, Announcement::Acpi, &[]).unwrap_err();
            assert!(matches!(error, BootError::Cmdline(_)), "{wanted:?}: {error}");
        }
    }

    #[test]
    fn the_limit_is_the_kernels() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let check = |more: usize, max: usize, expect: Option<&str>| {
            let own = text("", Announcement::Acpi, &[]).len() + 1;
            let cmdline = build(&"x".repeat(more - own), Announcement::Acpi, &[]).unwrap();
            let got = write(&memory, &cmdline, max).err().map(|e| e.to_string());
            assert_eq!(got.as_deref(), expect);
        };
        check(2047, CMDLINE_MAX, None);
        check(2048, CMDLINE_MAX, Some("the kernel's arguments have 2048 bytes, the most is 2047"));
        check(CMDLINE_ROOM - 1, CMDLINE_ROOM - 1, None);
        check(256, 255, Some("the kernel's arguments have 256 bytes, the most is 255"));
    }

    #[test]
    fn all_devices_leave_room() {
        let devices: Vec<_> = (0..VIRTIO_SLOTS).map(DeviceSlot::of).collect();
        assert!(text("", Announcement::Arguments, &devices).len() < CMDLINE_MAX / 2);
    }
}
