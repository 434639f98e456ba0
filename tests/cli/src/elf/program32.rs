//! A program for 32-bit x86, so that no 32-bit compiler is needed.

/// Where it is loaded.
const BASE: u32 = 0x0804_8000;
/// Bytes of an ELF header and one program header.
const HEADERS: u32 = 52 + 32;

/// A static i386 program that exits with `code` by `int 0x80`.
pub fn i386_exit(code: u8) -> Vec<u8> {
    // mov eax, 1 (exit); mov ebx, code; int 0x80
    let text = [0xb8, 1, 0, 0, 0, 0xbb, code, 0, 0, 0, 0xcd, 0x80];
    let size = HEADERS + text.len() as u32;
    let mut file = Vec::new();
    file.extend(*b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend([2_u16, 3].map(u16::to_le_bytes).concat()); // executable, i386
    file.extend([1, BASE + HEADERS, 52, 0, 0].map(u32::to_le_bytes).concat());
    file.extend([52_u16, 32, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // One loaded segment, readable and executable.
    file.extend([1, 0, BASE, BASE, size, size, 5, 0x1000].map(u32::to_le_bytes).concat());
    file.extend(text);
    file
}
