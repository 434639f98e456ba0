//! Kernel files for tests: just enough of each to be recognised.

/// An x86-64 ELF executable whose only segment holds one note.
pub(crate) fn elf(machine: u16, note_name: &[u8; 4], note_type: u32) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes()); // ET_EXEC
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(0x0100_0000u64.to_le_bytes()); // e_entry
    file.extend(64u64.to_le_bytes()); // e_phoff
    file.extend(0u64.to_le_bytes()); // e_shoff
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes()); // e_ehsize, e_phentsize, e_phnum, ...
    }
    file.extend(4u32.to_le_bytes()); // PT_NOTE
    file.extend(0u32.to_le_bytes());
    for word in [120u64, 0, 0, 20, 20, 4] {
        file.extend(word.to_le_bytes()); // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    }
    file.extend(4u32.to_le_bytes());
    file.extend(4u32.to_le_bytes());
    file.extend(note_type.to_le_bytes());
    file.extend(note_name);
    file.extend(0x0100_0000u32.to_le_bytes());
    file
}

/// A kernel that is entered by its PVH note.
pub(crate) fn vmlinux() -> Vec<u8> {
    elf(62, b"Xen\0", 18)
}

/// The first sectors of a compressed kernel with these fields of its setup header.
pub(crate) fn bzimage(version: u16, loadflags: u8, xloadflags: u8) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&version.to_le_bytes());
    file[0x211] = loadflags;
    file[0x236] = xloadflags;
    file
}
