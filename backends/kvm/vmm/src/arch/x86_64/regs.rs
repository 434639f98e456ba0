//! The registers that the boot processor starts with. The others wait for its start-up
//! message and are left as KVM made them.

use kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::layout::{GDT, PAGE_TABLES, STACK};
use super::tables::{Segments, page_tables};
use crate::boot::{Entry, Protocol};

/// Control registers and `EFER` (Intel SDM volume 3, 2.2.1 and 2.5).
const CR0_PROTECTED: u64 = 1 << 0;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// The bit of the flags that is always set: interrupts are off.
const FLAGS: u64 = 1 << 1;
/// What `fninit` and a reset leave (volume 1, 8.1.5 and 10.2.3.1).
const FPU_CONTROL: u16 = 0x37f;
const SSE_CONTROL: u32 = 0x1f80;

/// Why the boot processor is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegsError {
    /// An ioctl.
    #[error("cannot {what} of the boot processor")]
    Ioctl {
        /// What was tried.
        what: &'static str,
        #[source]
        source: kvm_ioctls::Error,
    },
    /// Tables do not fit into guest memory.
    #[error("cannot write the boot processor's {what} to {at:#x}")]
    Table {
        /// Which.
        what: &'static str,
        /// Where they should be.
        at: u64,
        #[source]
        source: GuestMemoryError,
    },
}

/// Makes the boot processor ready to run the kernel that [`crate::boot::copy`] copied, and
/// writes the tables that it starts with.
pub(crate) fn configure(
    vcpu: &VcpuFd,
    memory: &GuestMemoryMmap,
    entry: &Entry,
) -> Result<(), RegsError> {
    let failed = |what| move |source| RegsError::Ioctl { what, source };
    let segments = segments(entry);
    write(memory, "descriptor table", GDT, &segments.descriptor_table())?;
    if let Protocol::Linux64 { .. } = entry.protocol {
        write(memory, "page tables", PAGE_TABLES, &page_tables(PAGE_TABLES))?;
    }
    let mut special = vcpu.get_sregs().map_err(failed("read the special registers"))?;
    set_special(&mut special, entry, &segments);
    vcpu.set_sregs(&special).map_err(failed("set the special registers"))?;
    vcpu.set_regs(&general(entry)).map_err(failed("set the registers"))?;
    let fpu = kvm_fpu { fcw: FPU_CONTROL, mxcsr: SSE_CONTROL, ..kvm_fpu::default() };
    vcpu.set_fpu(&fpu).map_err(failed("set the floating-point registers"))
}

fn write(
    memory: &GuestMemoryMmap,
    what: &'static str,
    at: u64,
    bytes: &[u8],
) -> Result<(), RegsError> {
    memory.write_slice(bytes, GuestAddress(at)).map_err(|source| RegsError::Table {
        what,
        at,
        source,
    })
}

fn segments(entry: &Entry) -> Segments {
    match entry.protocol {
        Protocol::Pvh { .. } => Segments::protected(),
        Protocol::Linux64 { .. } => Segments::long(),
    }
}

/// PVH: `docs/misc/pvh.pandoc` of Xen. Linux: "64-bit boot protocol" of its
/// `Documentation/x86/boot.rst`.
fn general(entry: &Entry) -> kvm_regs {
    let regs = kvm_regs { rip: entry.address, rflags: FLAGS, ..kvm_regs::default() };
    match entry.protocol {
        Protocol::Pvh { start_info } => kvm_regs { rbx: start_info, ..regs },
        Protocol::Linux64 { boot_params } => {
            kvm_regs { rsi: boot_params, rsp: STACK, rbp: STACK, ..regs }
        }
    }
}

fn set_special(special: &mut kvm_sregs, entry: &Entry, segments: &Segments) {
    special.gdt.base = GDT;
    special.gdt.limit = segments.descriptor_table().len() as u16 - 1;
    special.idt.base = 0;
    special.idt.limit = 0;
    special.cs = segments.code;
    for data in
        [&mut special.ds, &mut special.es, &mut special.fs, &mut special.gs, &mut special.ss]
    {
        *data = segments.data;
    }
    special.tr = segments.task;
    special.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    special.cr4 = 0;
    special.efer = 0;
    if let Protocol::Linux64 { .. } = entry.protocol {
        special.cr0 |= CR0_PAGING;
        special.cr3 = PAGE_TABLES;
        special.cr4 = CR4_PHYSICAL_ADDRESS_EXTENSION;
        special.efer = EFER_LONG_MODE | EFER_LONG_MODE_ACTIVE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(entry: &Entry) -> kvm_sregs {
        let mut special = kvm_sregs { apic_base: 0xfee0_0900, ..kvm_sregs::default() };
        set_special(&mut special, entry, &segments(entry));
        assert_eq!(special.apic_base, 0xfee0_0900);
        assert_eq!((special.gdt.base, special.gdt.limit), (GDT, 47));
        special
    }

    #[test]
    fn pvh_is_protected_mode_without_paging() {
        let entry = Entry { address: 0x100_0500, protocol: Protocol::Pvh { start_info: 0x6000 } };
        let regs = general(&entry);
        assert_eq!((regs.rip, regs.rbx, regs.rflags), (0x100_0500, 0x6000, 2));
        let special = special(&entry);
        assert_eq!((special.cr0, special.cr4, special.efer), (0x11, 0, 0));
        assert_eq!((special.cs.db, special.cs.l, special.ss.db), (1, 0, 1));
    }

    #[test]
    fn linux_is_long_mode_with_paging() {
        let entry =
            Entry { address: 0x100_0200, protocol: Protocol::Linux64 { boot_params: 0x7000 } };
        let regs = general(&entry);
        assert_eq!((regs.rip, regs.rsi, regs.rsp), (0x100_0200, 0x7000, STACK));
        let special = special(&entry);
        assert_eq!((special.cr0, special.cr4), (0x8000_0011, 0x20));
        assert_eq!((special.efer, special.cr3), (0x500, PAGE_TABLES));
        assert_eq!((special.cs.db, special.cs.l, special.cs.selector), (0, 1, 0x10));
        assert_eq!(special.ds.selector, 0x18);
    }
}
