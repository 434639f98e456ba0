//! The zero page of the Linux boot protocol (`Documentation/x86/zero-page.rst`).

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::memory_map::{self, Range};
use super::{BootError, Facts};
use crate::arch::layout::{CMDLINE, ZERO_PAGE};

/// Of boot loaders without a number of their own.
const UNDEFINED_LOADER: u8 = 0xff;
const BOOT_FLAG: u16 = 0xaa55;
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");

/// Writes it and says where it is. `header` is the kernel's own, or all zero.
pub(super) fn write(
    memory: &GuestMemoryMmap,
    header: setup_header,
    facts: &Facts,
) -> Result<u64, BootError> {
    let params = build(header, &memory_map::of(memory), facts);
    memory.write_obj(params, GuestAddress(ZERO_PAGE)).map_err(|source| BootError::Write {
        what: "boot parameters",
        at: ZERO_PAGE,
        source,
    })?;
    Ok(ZERO_PAGE)
}

fn build(header: setup_header, map: &[Range], facts: &Facts) -> boot_params {
    let mut params = boot_params { hdr: header, ..boot_params::default() };
    params.hdr.type_of_loader = UNDEFINED_LOADER;
    params.hdr.boot_flag = BOOT_FLAG;
    params.hdr.header = MAGIC;
    params.hdr.cmd_line_ptr = CMDLINE as u32;
    if let Some(initramfs) = facts.initramfs {
        // Both below 4 GiB: it lies in RAM below the hole.
        params.hdr.ramdisk_image = initramfs.start as u32;
        params.hdr.ramdisk_size = initramfs.len as u32;
    }
    params.acpi_rsdp_addr = facts.root_pointer.unwrap_or(0);
    let mut table = params.e820_table;
    for (entry, range) in table.iter_mut().zip(map) {
        let Range { start: addr, len: size, kind } = *range;
        *entry = boot_e820_entry { addr, size, r#type: kind as u32 };
    }
    params.e820_table = table;
    params.e820_entries = map.len().min(table.len()) as u8;
    params
}

#[cfg(test)]
mod tests {
    use vm_memory::ByteValued;

    use super::*;
    use crate::arch::layout::memory_regions;
    use crate::boot::initrd::Initramfs;

    fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
        bytes[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    #[test]
    fn fields_are_where_the_protocol_has_them() {
        let memory = GuestMemoryMmap::from_ranges(&memory_regions(5120)).unwrap();
        let header = setup_header { version: 0x20f, kernel_alignment: 4, ..Default::default() };
        let initramfs = Some(Initramfs { start: 0x7f00_0000, len: 0x1234 });
        let facts = Facts { initramfs, root_pointer: Some(0xe_0000) };
        let params = build(header, &memory_map::of(&memory), &facts);
        let check = |at, len, expect| {
            assert_eq!(number(params.as_slice(), at, len), expect, "{at:#x}");
        };
        check(0x70, 8, 0xe_0000);
        check(0x1e8, 1, 4);
        check(0x1ef, 1, 0); // not zero: the kernel would not believe the rest
        check(0x1fe, 2, 0xaa55);
        check(0x202, 4, 0x5372_6448);
        check(0x206, 2, 0x20f);
        check(0x210, 1, 0xff);
        check(0x218, 4, 0x7f00_0000);
        check(0x21c, 4, 0x1234);
        check(0x228, 4, 0x2_0000);
        check(0x230, 4, 4);
        for (index, expect) in [
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x6_0400, 2),
            (1 << 20, 3071 << 20, 1),
            (1 << 32, 2 << 30, 1),
        ]
        .into_iter()
        .enumerate()
        {
            check(0x2d0 + index * 20, 8, expect.0);
            check(0x2d8 + index * 20, 8, expect.1);
            check(0x2e0 + index * 20, 4, expect.2);
        }
        check(0x2d0 + 4 * 20, 8, 0);
    }
}
