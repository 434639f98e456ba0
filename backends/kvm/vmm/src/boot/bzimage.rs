//! What is to be known of a compressed kernel before it is copied. Where fields are, and what
//! they mean: Linux, `Documentation/x86/boot.rst`.

use std::io::{Read, Seek, SeekFrom};

use linux_loader::loader::bootparam::{LOADED_HIGH, XLF_KERNEL_64, setup_header};
use vm_memory::ByteValued;

use super::BootError;
use super::kernel::{part, place, read_error};
use crate::arch::layout::CMDLINE_ROOM;

/// Where the header is in the file.
const HEADER: u64 = 0x1f1;
/// Where `jump` ends, whose second byte is what follows of the header.
const AFTER_JUMP: usize = 0x202;
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// The first version with a 64-bit entry and a flag that says so.
const MIN_VERSION: u16 = 0x20c;
const SECTOR: u64 = 512;
/// From where it is loaded to its 64-bit entry.
const ENTRY: u64 = 0x200;
/// Unit of `syssize`.
const PARAGRAPH: u64 = 16;

/// What becomes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Where it is copied to: where it would decompress itself to, so that it need not move.
    pub(super) start: u64,
    /// Where it begins.
    pub(super) entry: u64,
    /// The first address behind all that it needs until it knows of memory.
    pub(super) end: u64,
    /// Its header, without what the file has after it; lengths are what this machine has room
    /// for.
    pub(super) header: setup_header,
}

/// Looks at a file of `len` bytes for a guest with RAM up to `ram_end`.
///
/// # Errors
/// It is no kernel with a 64-bit entry, or there is no room for it.
pub(super) fn plan(
    file: &mut (impl Read + Seek),
    len: u64,
    ram_end: u64,
) -> Result<Plan, BootError> {
    let mut header = read_header(file, len)?;
    check_kind(&header)?;
    let sectors = if header.setup_sects == 0 { 4 } else { u64::from(header.setup_sects) };
    let setup = (sectors + 1) * SECTOR;
    let code = u64::from(header.syssize) * PARAGRAPH;
    part("compressed part", setup, code.max(ENTRY + 1), len)?;
    let start = header.pref_address;
    let align = u64::from(header.kernel_alignment);
    let needed = u64::from(header.init_size).max(len - setup);
    let end = place("compressed part", start, needed, ram_end)?;
    if !align.is_power_of_two() || !start.is_multiple_of(align) {
        let why = "its address is no multiple of the alignment that it asks for";
        return Err(BootError::Place { what: "compressed part", start, end, why });
    }
    header.code32_start = start as u32;
    header.cmdline_size = header.cmdline_size.min(CMDLINE_ROOM as u32 - 1);
    Ok(Plan { start, entry: start + ENTRY, end, header })
}

fn read_header(file: &mut (impl Read + Seek), len: u64) -> Result<setup_header, BootError> {
    let mut header = setup_header::default();
    let bytes = header.as_mut_slice();
    part("header", HEADER, bytes.len() as u64, len)?;
    file.seek(SeekFrom::Start(HEADER)).map_err(read_error)?;
    file.read_exact(bytes).map_err(read_error)?;
    // An older header ends before this structure does, and code follows.
    let jump = AFTER_JUMP - HEADER as usize;
    let end = jump + usize::from(bytes[jump - 1]);
    if let Some(after) = bytes.get_mut(end..) {
        after.fill(0);
    }
    Ok(header)
}

fn check_kind(header: &setup_header) -> Result<(), BootError> {
    let setup_header { header: magic, version, loadflags, xloadflags, .. } = *header;
    let wrong = |why| Err(BootError::NotOfKind { expected: "bzImage with a 64-bit entry", why });
    if magic != MAGIC {
        return wrong(format!("it has {magic:#x} where {MAGIC:#x} should be"));
    }
    if version < MIN_VERSION {
        return wrong(format!("its boot protocol is {version:#x}, older than {MIN_VERSION:#x}"));
    }
    if loadflags & LOADED_HIGH == 0 || xloadflags & XLF_KERNEL_64 == 0 {
        return wrong(format!("its flags are {loadflags:#x} and {xloadflags:#x}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "bzimage/tests.rs"]
mod tests;
