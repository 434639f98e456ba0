//! What is to be known of a kernel in an ELF file (System V ABI, chapters 4 and 5) before it
//! is copied.

use std::io::{Read, Seek, SeekFrom};

use linux_loader::elf::{
    EI_CLASS, EI_DATA, EI_MAG0, ELFDATA2LSB, Elf64_Ehdr, Elf64_Phdr, PT_LOAD, PT_NOTE,
};
use vm_memory::ByteValued;

use super::BootError;
use super::kernel::{part, place, read_error};

const HEADER_LEN: u64 = size_of::<Elf64_Ehdr>() as u64;
const SEGMENT_LEN: u64 = size_of::<Elf64_Phdr>() as u64;
const CLASS_64: u8 = 2;
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_X86_64: u16 = 62;
/// Most segments; Linux has five.
const MAX_SEGMENTS: u16 = 64;
/// Longest notes; Linux has about a hundred bytes.
const MAX_NOTES: u64 = 64 << 10;
/// The note that says where PVH begins, of the owner `Xen`.
const NOTE_PVH: u32 = 18;
const NOTE_HEADER: usize = 12;

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where it begins by the 64-bit protocol.
    pub(super) entry: u64,
    /// Where it begins by PVH, if it knows PVH.
    pub(super) pvh: Option<u64>,
    /// The first address behind it.
    pub(super) end: u64,
}

/// Looks at a file of `len` bytes for a guest with RAM up to `ram_end`.
///
/// # Errors
/// It is no kernel for this machine, or one that would not be where it says.
pub(super) fn plan(
    file: &mut (impl Read + Seek),
    len: u64,
    ram_end: u64,
) -> Result<Plan, BootError> {
    part("header", 0, HEADER_LEN, len)?;
    let header: Elf64_Ehdr = read_at(file, 0)?;
    check_kind(&header)?;
    let table = u64::from(header.e_phnum) * SEGMENT_LEN;
    part("table of segments", header.e_phoff, table, len)?;
    let mut loaded = Vec::new();
    let mut pvh = None;
    for index in 0..u64::from(header.e_phnum) {
        let segment: Elf64_Phdr = read_at(file, header.e_phoff + index * SEGMENT_LEN)?;
        match segment.p_type {
            PT_LOAD if segment.p_memsz > 0 || segment.p_filesz > 0 => {
                loaded.push(check_segment(&segment, len, ram_end)?);
            }
            PT_NOTE => pvh = pvh.or(pvh_entry(&notes(file, &segment, len)?)),
            _ => {}
        }
    }
    check_overlap(&mut loaded)?;
    let entry = header.e_entry;
    check_entry(pvh.unwrap_or(entry), &loaded)?;
    let end = loaded.iter().map(|place| place.end).max().unwrap_or(0);
    Ok(Plan { entry, pvh, end })
}

#[derive(Debug, Clone, Copy)]
struct Loaded {
    start: u64,
    end: u64,
}

fn check_kind(header: &Elf64_Ehdr) -> Result<(), BootError> {
    let ident = &header.e_ident;
    let magic = &ident[EI_MAG0..][..4];
    let wrong = |why| Err(BootError::NotOfKind { expected: "64-bit x86 ELF executable", why });
    if magic != b"\x7fELF" {
        return wrong(format!("it begins with {magic:02x?}"));
    }
    let (class, data) = (ident[EI_CLASS], ident[EI_DATA]);
    if class != CLASS_64 || data != ELFDATA2LSB {
        return wrong(format!("its class is {class}, its byte order {data}"));
    }
    if header.e_type != TYPE_EXECUTABLE || header.e_machine != MACHINE_X86_64 {
        return wrong(format!("its type is {}, its machine {}", header.e_type, header.e_machine));
    }
    if u64::from(header.e_phentsize) != SEGMENT_LEN || header.e_phoff < HEADER_LEN {
        let (offset, len) = (header.e_phoff, header.e_phentsize);
        return wrong(format!("its table of segments is at {offset:#x}, with {len} bytes each"));
    }
    if !(1..=MAX_SEGMENTS).contains(&header.e_phnum) {
        return wrong(format!("it has {} segments, not 1 to {MAX_SEGMENTS}", header.e_phnum));
    }
    Ok(())
}

fn check_segment(segment: &Elf64_Phdr, len: u64, ram_end: u64) -> Result<Loaded, BootError> {
    let Elf64_Phdr { p_offset, p_paddr, p_filesz, p_memsz, .. } = *segment;
    part("segment", p_offset, p_filesz, len)?;
    if p_filesz > p_memsz {
        let why = "its file has more bytes than that";
        let end = p_paddr.saturating_add(p_memsz);
        return Err(BootError::Place { what: "segment", start: p_paddr, end, why });
    }
    let end = place("segment", p_paddr, p_memsz, ram_end)?;
    Ok(Loaded { start: p_paddr, end })
}

fn check_overlap(loaded: &mut [Loaded]) -> Result<(), BootError> {
    loaded.sort_by_key(|segment| segment.start);
    match loaded.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(&[_, Loaded { start, end }]) => {
            let why = "another segment is there";
            Err(BootError::Place { what: "segment", start, end, why })
        }
        _ => Ok(()),
    }
}

fn check_entry(entry: u64, loaded: &[Loaded]) -> Result<(), BootError> {
    if loaded.iter().any(|segment| (segment.start..segment.end).contains(&entry)) {
        return Ok(());
    }
    let why = "no segment is there";
    Err(BootError::Place { what: "first instruction", start: entry, end: entry, why })
}

fn notes(
    file: &mut (impl Read + Seek),
    segment: &Elf64_Phdr,
    len: u64,
) -> Result<Vec<u8>, BootError> {
    part("notes", segment.p_offset, segment.p_filesz, len)?;
    if segment.p_filesz > MAX_NOTES {
        let len = segment.p_filesz;
        return Err(BootError::TooLarge { what: "kernel's notes", len, max: MAX_NOTES });
    }
    let mut bytes = vec![0; segment.p_filesz as usize];
    file.seek(SeekFrom::Start(segment.p_offset)).map_err(read_error)?;
    file.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

/// The address in the note of PVH, if it is among `notes`. What cannot be read ends the search.
fn pvh_entry(mut notes: &[u8]) -> Option<u64> {
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
    };
    loop {
        let (name_len, len) = (word(notes, 0)? as usize, word(notes, 4)? as usize);
        let kind = word(notes, 8)?;
        let name = notes.get(NOTE_HEADER..NOTE_HEADER + name_len)?;
        let at = NOTE_HEADER + name_len.next_multiple_of(4);
        if kind == NOTE_PVH && name == b"Xen\0" && len >= 4 {
            return word(notes, at).map(u64::from);
        }
        notes = notes.get(at + len.next_multiple_of(4)..)?;
    }
}

fn read_at<T: ByteValued + Default>(
    file: &mut (impl Read + Seek),
    offset: u64,
) -> Result<T, BootError> {
    let mut value = T::default();
    file.seek(SeekFrom::Start(offset)).map_err(read_error)?;
    file.read_exact(value.as_mut_slice()).map_err(read_error)?;
    Ok(value)
}

#[cfg(test)]
#[path = "elf/tests.rs"]
mod tests;
