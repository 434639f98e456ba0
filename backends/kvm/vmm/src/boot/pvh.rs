//! The start info of PVH (Xen, `include/public/arch-x86/hvm/start_info.h`).

use linux_loader::loader::elf::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryMmap};

use super::memory_map::{self, Range};
use super::{BootError, Facts};
use crate::arch::layout::{CMDLINE, PVH_MEMORY_MAP, PVH_MODULES, PVH_START_INFO};

/// The first with a memory map.
const VERSION: u32 = 1;

/// Writes it and what it points to, and says where it is.
pub(super) fn write(memory: &GuestMemoryMmap, facts: &Facts) -> Result<u64, BootError> {
    let map = memory_map::of(memory);
    put(memory, "start info", PVH_START_INFO, start_info(map.len(), facts))?;
    if let Some(initramfs) = facts.initramfs {
        let module = hvm_modlist_entry {
            paddr: initramfs.start,
            size: initramfs.len,
            ..hvm_modlist_entry::default()
        };
        put(memory, "list of modules", PVH_MODULES, module)?;
    }
    for (index, range) in map.into_iter().enumerate() {
        let Range { start: addr, len: size, kind } = range;
        let entry = hvm_memmap_table_entry { addr, size, type_: kind as u32, reserved: 0 };
        let at = PVH_MEMORY_MAP + (index * size_of_val(&entry)) as u64;
        put(memory, "memory map", at, entry)?;
    }
    Ok(PVH_START_INFO)
}

fn start_info(ranges: usize, facts: &Facts) -> hvm_start_info {
    let (nr_modules, modlist_paddr) = match facts.initramfs {
        Some(_) => (1, PVH_MODULES),
        None => (0, 0),
    };
    hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        nr_modules,
        modlist_paddr,
        cmdline_paddr: CMDLINE,
        rsdp_paddr: facts.root_pointer.unwrap_or(0),
        memmap_paddr: PVH_MEMORY_MAP,
        memmap_entries: ranges as u32,
        ..hvm_start_info::default()
    }
}

fn put(
    memory: &GuestMemoryMmap,
    what: &'static str,
    at: u64,
    object: impl ByteValued,
) -> Result<(), BootError> {
    memory.write_obj(object, GuestAddress(at)).map_err(|source| BootError::Write {
        what,
        at,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::layout::memory_regions;
    use crate::boot::initrd::Initramfs;

    #[test]
    fn fields_are_where_the_header_has_them() {
        let memory = GuestMemoryMmap::from_ranges(&memory_regions(128)).unwrap();
        let initramfs = Some(Initramfs { start: 0x7fe_0000, len: 0x1_2345 });
        let facts = Facts { initramfs, root_pointer: Some(0xe_0000) };
        assert_eq!(write(&memory, &facts).unwrap(), PVH_START_INFO);
        let check = |at: u64, len: usize, expect: u64| {
            let mut bytes = [0; 8];
            memory.read_slice(&mut bytes[..len], GuestAddress(at)).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), expect, "{at:#x}");
        };
        check(PVH_START_INFO, 4, 0x336e_c578);
        check(PVH_START_INFO + 4, 4, 1);
        check(PVH_START_INFO + 12, 4, 1);
        check(PVH_START_INFO + 16, 8, PVH_MODULES);
        check(PVH_START_INFO + 24, 8, CMDLINE);
        check(PVH_START_INFO + 32, 8, 0xe_0000);
        check(PVH_START_INFO + 40, 8, PVH_MEMORY_MAP);
        check(PVH_START_INFO + 48, 4, 3);
        check(PVH_MODULES, 8, 0x7fe_0000);
        check(PVH_MODULES + 8, 8, 0x1_2345);
        check(PVH_MEMORY_MAP + 48, 8, 1 << 20);
        check(PVH_MEMORY_MAP + 56, 8, 127 << 20);
        check(PVH_MEMORY_MAP + 64, 4, 1);
    }

    #[test]
    fn what_is_not_there_is_zero() {
        let info = start_info(3, &Facts { initramfs: None, root_pointer: None });
        assert_eq!((info.nr_modules, info.modlist_paddr, info.rsdp_paddr), (0, 0, 0));
    }
}
