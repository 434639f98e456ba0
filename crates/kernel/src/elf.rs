//! The ELF form of a kernel: an x86-64 executable that says where it is entered.
//!
//! Source: System V ABI, chapter 4 and 5; `xen/include/public/elfnote.h` for the note.

use microagent_machine::KernelFormat;
use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, EM_386, EM_AARCH64, EM_RISCV, EM_X86_64, ET_DYN, ET_EXEC,
    FileHeader64, PT_NOTE, ProgramHeader64,
};
use object::pod;
use object::read::elf::NoteIterator;

use crate::inspect::Refusal;

/// Where `e_ident` says whether the file is of 32 or 64 bits, and its byte order.
const EI_CLASS: usize = 4;
const EI_DATA: usize = 5;
/// Where every ELF file has `e_machine`.
const E_MACHINE: std::ops::Range<usize> = 18..20;

/// Linux has five program headers.
const MAX_PROGRAM_HEADERS: u16 = 64;

/// Linux has about a hundred bytes of notes.
const MAX_NOTES: u64 = 64 * 1024;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the physical address of the 32-bit entry point.
const XEN_PHYS32_ENTRY: u32 = 18;

/// Whether the ELF file that begins with `head` is a kernel with a PVH entry point. `read`
/// gives a range of the file, or `None` where there is none.
pub(crate) fn recognise(
    head: &[u8],
    read: impl Fn(u64, usize) -> Option<Vec<u8>>,
) -> Result<KernelFormat, Refusal> {
    check_machine(head)?;
    let (header, _) = pod::from_bytes::<FileHeader64<LE>>(head).map_err(|()| truncated())?;
    if !matches!(header.e_type.get(LE), ET_EXEC | ET_DYN) {
        return Err(refusal("is an ELF file, but not an executable"));
    }
    for segment in program_headers(header, &read)? {
        if segment.p_type.get(LE) == PT_NOTE && has_entry_note(&segment, &read)? {
            return Ok(KernelFormat::Vmlinux);
        }
    }
    Err(Refusal {
        why: "is an x86-64 ELF file without a PVH entry point".into(),
        hint: Some("if it is a Linux kernel, build it with CONFIG_PVH=y"),
    })
}

/// The fields that stand at the same place in every ELF file come first: a 32-bit kernel or
/// one of another machine is named as such.
fn check_machine(head: &[u8]) -> Result<(), Refusal> {
    let (Some(&class), Some(&data), Some(machine)) =
        (head.get(EI_CLASS), head.get(EI_DATA), head.get(E_MACHINE))
    else {
        return Err(truncated());
    };
    let machine = match data {
        ELFDATA2LSB => u16::from_le_bytes([machine[0], machine[1]]),
        _ => u16::from_be_bytes([machine[0], machine[1]]),
    };
    match machine {
        EM_X86_64 if class == ELFCLASS64 && data == ELFDATA2LSB => Ok(()),
        EM_AARCH64 => Err(refusal("is an arm64 kernel on an x86_64 host")),
        EM_RISCV => Err(refusal("is a riscv kernel on an x86_64 host")),
        EM_386 => Err(refusal("is a 32-bit x86 ELF file, not an x86-64 kernel")),
        other => Err(refusal(format!("is an ELF file for machine {other}, not for x86-64"))),
    }
}

fn program_headers(
    header: &FileHeader64<LE>,
    read: impl Fn(u64, usize) -> Option<Vec<u8>>,
) -> Result<Vec<ProgramHeader64<LE>>, Refusal> {
    let count = header.e_phnum.get(LE);
    let entry = size_of::<ProgramHeader64<LE>>();
    if usize::from(header.e_phentsize.get(LE)) != entry || count > MAX_PROGRAM_HEADERS {
        return Err(refusal(format!("is an ELF file with {count} odd program headers")));
    }
    let count = usize::from(count);
    let bytes = read(header.e_phoff.get(LE), count * entry).ok_or_else(truncated)?;
    let (headers, _) = pod::slice_from_bytes(&bytes, count).map_err(|()| truncated())?;
    Ok(headers.to_vec())
}

fn has_entry_note(
    segment: &ProgramHeader64<LE>,
    read: impl Fn(u64, usize) -> Option<Vec<u8>>,
) -> Result<bool, Refusal> {
    let length = segment.p_filesz.get(LE);
    if length > MAX_NOTES {
        return Err(refusal(format!("is an ELF file with {length} bytes of notes")));
    }
    let length = usize::try_from(length).map_err(|_| truncated())?;
    let bytes = read(segment.p_offset.get(LE), length).ok_or_else(truncated)?;
    let align = segment.p_align.get(LE);
    let Ok(notes) = NoteIterator::<FileHeader64<LE>>::new(LE, align, &bytes) else {
        return Ok(false);
    };
    // A note that does not parse ends the iteration: nothing after it can be trusted.
    Ok(notes
        .map_while(Result::ok)
        .any(|note| note.name() == b"Xen" && note.n_type(LE) == XEN_PHYS32_ENTRY))
}

fn truncated() -> Refusal {
    refusal("is a truncated ELF file")
}

fn refusal(why: impl Into<String>) -> Refusal {
    Refusal { why: why.into(), hint: None }
}
