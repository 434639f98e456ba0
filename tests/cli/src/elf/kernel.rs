//! Kernels that are entered by PVH as a vmlinux is, and do next to nothing.

/// Where it is loaded and entered.
const BASE: u64 = 0x10_0000;
/// Bytes of an ELF header and two program headers.
const HEADERS: u64 = 64 + 2 * 56;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the note that names the 32-bit entry point.
const PHYS32_ENTRY: u32 = 18;
/// Bytes of that note: three words, `Xen\0`, an address of eight bytes.
const NOTE: u64 = 24;

/// A kernel that writes `boot` and a newline to the first serial port and then makes the
/// processor reset itself, by an interrupt without a table of interrupts.
pub fn resetting_kernel() -> Vec<u8> {
    let mut text = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in *b"boot\n" {
        text.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }
    // An empty table, on a stack of its own: mov esp, 0x200000; push 0; push 0.
    text.extend([0xbc, 0x00, 0x00, 0x20, 0x00, 0x6a, 0x00, 0x6a, 0x00]);
    text.extend([0x0f, 0x01, 0x1c, 0x24, 0xcc]); // lidt [esp]; int3
    kernel(&text)
}

/// A kernel that halts for ever.
pub fn hanging_kernel() -> Vec<u8> {
    kernel(&[0xfa, 0xf4, 0xeb, 0xfc]) // cli; again: hlt; jmp again
}

fn kernel(text: &[u8]) -> Vec<u8> {
    let entry = BASE + HEADERS + NOTE;
    let size = HEADERS + NOTE + text.len() as u64;
    let mut file = Vec::new();
    file.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat()); // executable, x86-64
    file.extend(1_u32.to_le_bytes());
    file.extend([entry, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend(segment(1, 5, 0, size, 0x1000));
    file.extend(segment(4, 4, HEADERS, NOTE, 4));
    file.extend([4, 8, PHYS32_ENTRY].map(u32::to_le_bytes).concat());
    file.extend(*b"Xen\0");
    file.extend(entry.to_le_bytes());
    file.extend(text);
    // Some loaders want to see more than a page.
    file.resize(file.len().max(8192), 0);
    file
}

fn segment(kind: u32, flags: u32, offset: u64, size: u64, align: u64) -> Vec<u8> {
    let address = BASE + offset;
    let words = [offset, address, address, size, size, align].map(u64::to_le_bytes).concat();
    [[kind, flags].map(u32::to_le_bytes).concat(), words].concat()
}
