//! Where everything is: guest-physical addresses, I/O ports, interrupt lines.
//!
//! ```text
//! 0            GDT, start info or zero page, first page tables, arguments
//! 0x9fc00      what a firmware would keep; ACPI tables, MP table
//! 1 MiB        kernel; initramfs at the end
//! 3 GiB        devices: virtio, I/O APIC, local APIC, KVM's own pages
//! 4 GiB        the rest of RAM
//! ```

use vm_memory::GuestAddress;

const MIB: u64 = 1 << 20;

/// Start of the addresses that are no RAM.
pub(crate) const HOLE_START: u64 = 3 << 30;
/// Their end, where RAM goes on.
pub(crate) const HOLE_END: u64 = 4 << 30;

/// The first virtio device's registers.
pub(crate) const VIRTIO_BASE: u64 = 0xd000_0000;
/// From one device to the next; what the guest is told is each one's length.
pub(crate) const VIRTIO_STRIDE: u64 = 0x1000;
/// Length of the registers that are there: the common ones, and 0x100 of configuration.
pub(crate) const VIRTIO_LEN: u64 = 0x200;
/// The first device's line of the I/O APIC. Those below belong to the serial line, and to
/// devices that old kernels take for granted.
pub(crate) const VIRTIO_FIRST_GSI: u32 = 5;

/// The first serial line, 8 ports.
pub(crate) const COM1_PORT: u16 = 0x3f8;
/// How many ports it has.
pub(crate) const COM1_LEN: u16 = 8;
/// Its interrupt line.
pub(crate) const COM1_GSI: u32 = 4;
/// Any write powers the machine off.
pub(crate) const EXIT_PORT: u16 = 0x604;
/// What ACPI's sleep status register is; nothing is there, and nothing must happen there: a
/// guest writes to it before it writes to [`EXIT_PORT`].
pub(crate) const SLEEP_STATUS_PORT: u16 = 0x605;
/// Command port of the keyboard controller, of which there is only the reset line.
pub(crate) const KEYBOARD_PORT: u16 = 0x64;
/// The command that pulses it.
pub(crate) const KEYBOARD_RESET: u8 = 0xfe;

/// I/O APIC, where KVM has it.
pub(crate) const IO_APIC: u32 = 0xfec0_0000;
/// Each processor's own APIC, where KVM has it.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// For `KVM_SET_IDENTITY_MAP_ADDR`: a page that KVM needs to run real mode on Intel
/// processors without unrestricted guests.
pub(crate) const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// For `KVM_SET_TSS_ADDR`: three pages, for the same.
pub(crate) const KVM_TSS: u64 = 0xfffb_d000;

/// The global descriptor table that the boot processor starts with.
pub(crate) const GDT: u64 = 0x500;
/// PVH: `struct hvm_start_info`.
pub(crate) const PVH_START_INFO: u64 = 0x6000;
/// PVH: the list of modules, whose only one is the initramfs.
pub(crate) const PVH_MODULES: u64 = 0x6040;
/// PVH: the memory map.
pub(crate) const PVH_MEMORY_MAP: u64 = 0x6080;
/// Linux: `struct boot_params`, a page.
pub(crate) const ZERO_PAGE: u64 = 0x7000;
/// End of a stack of less than a page, for whoever is entered by the 64-bit protocol.
pub(crate) const STACK: u64 = 0x8ff0;
/// The page tables that the boot processor starts with, [`super::tables::PAGE_TABLES_LEN`].
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// The kernel's arguments, ended by a NUL.
pub(crate) const CMDLINE: u64 = 0x2_0000;
/// Room for them, the NUL among it.
pub(crate) const CMDLINE_ROOM: usize = 0x1_0000;
/// Longest arguments for a kernel that does not say how long they may be, without the NUL:
/// `COMMAND_LINE_SIZE` of every Linux for x86.
pub(crate) const CMDLINE_MAX: usize = 2047;
/// End of the RAM below 1 MiB.
pub(crate) const LOW_RAM_END: u64 = 0x9_fc00;
/// Where ACPI's tables are, the root pointer first; in the area that is searched for it.
pub(crate) const ACPI_TABLES: u64 = 0xe_0000;
/// Where the MP table is; in the area that is searched for it.
pub(crate) const MP_TABLE: u64 = 0xf_0000;
/// Room for each of these two.
pub(crate) const TABLES_ROOM: usize = 0x1_0000;
/// The lowest address of a kernel: all that is listed above is below.
pub(crate) const KERNEL_MIN: u64 = MIB;

/// A virtio device as the guest is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceSlot {
    /// Address of its registers, below 4 GiB.
    pub(crate) base: u64,
    /// Their length.
    pub(crate) len: u64,
    /// Its line of the I/O APIC, 5 to 23.
    pub(crate) gsi: u32,
}

impl DeviceSlot {
    /// The slot of the `index`th device, less than
    /// [`VIRTIO_SLOTS`](microagent_vmm_protocol::VIRTIO_SLOTS).
    pub(crate) fn of(index: u8) -> Self {
        Self {
            base: VIRTIO_BASE + u64::from(index) * VIRTIO_STRIDE,
            len: VIRTIO_STRIDE,
            gsi: VIRTIO_FIRST_GSI + u32::from(index),
        }
    }
}

/// Start and length of each piece of RAM of a machine with `mib` MiB.
pub(crate) fn memory_regions(mib: u32) -> Vec<(GuestAddress, usize)> {
    let size = u64::from(mib) * MIB;
    let low = size.min(HOLE_START);
    let mut regions = vec![(GuestAddress(0), low as usize)];
    if size > low {
        regions.push((GuestAddress(HOLE_END), (size - low) as usize));
    }
    regions
}

#[cfg(test)]
mod tests {
    use microagent_vmm_protocol::{MAX_MEMORY_MIB, VIRTIO_SLOTS};

    use super::super::tables::PAGE_TABLES_LEN;
    use super::*;

    #[test]
    fn ram_leaves_the_hole() {
        let check = |mib, expect: &[(u64, u64)]| {
            let got: Vec<_> =
                memory_regions(mib).iter().map(|(at, len)| (at.0, *len as u64)).collect();
            assert_eq!(got, expect, "{mib} MiB");
        };
        check(1, &[(0, MIB)]);
        check(128, &[(0, 128 * MIB)]);
        check(3072, &[(0, 3072 * MIB)]);
        check(3073, &[(0, 3072 * MIB), (HOLE_END, MIB)]);
        check(5120, &[(0, 3072 * MIB), (HOLE_END, 2048 * MIB)]);
        check(MAX_MEMORY_MIB, &[(0, 3072 * MIB), (HOLE_END, (1 << 40) - 3072 * MIB)]);
    }

    #[test]
    fn nothing_lies_over_anything_else() {
        let check = |what: &[(u64, u64)]| {
            for pair in what.windows(2) {
                assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
            }
        };
        check(&[
            (GDT, 48),
            (PVH_START_INFO, 56),
            (PVH_MODULES, 32),
            (PVH_MEMORY_MAP, 24 * 8),
            (ZERO_PAGE, 0x1000),
            (ZERO_PAGE + 0x1000, STACK - ZERO_PAGE - 0x1000),
            (PAGE_TABLES, PAGE_TABLES_LEN as u64),
            (CMDLINE, CMDLINE_ROOM as u64),
            (LOW_RAM_END, 0),
            (ACPI_TABLES, TABLES_ROOM as u64),
            (MP_TABLE, TABLES_ROOM as u64),
            (KERNEL_MIN, 0),
        ]);
        check(&[
            (HOLE_START, 0),
            (VIRTIO_BASE, u64::from(VIRTIO_SLOTS) * VIRTIO_STRIDE),
            (u64::from(IO_APIC), 0x1000),
            (u64::from(LOCAL_APIC), 0x1000),
            (KVM_IDENTITY_MAP, 0x1000),
            (KVM_TSS, 0x3000),
            (HOLE_END, 0),
        ]);
    }

    #[test]
    fn lines_end_where_the_io_apic_does() {
        assert_eq!(DeviceSlot::of(0), DeviceSlot { base: 0xd000_0000, len: 0x1000, gsi: 5 });
        assert_eq!(DeviceSlot::of(VIRTIO_SLOTS - 1).gsi, 23);
    }
}
