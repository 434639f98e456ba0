//! ELF files with a PVH note (Xen's `PHYS32_ENTRY`, note 18).

use super::code::{Mode, program};
use crate::{Failure, Script};

/// Where the file is loaded: 1 MiB, the lowest address that is memory on every machine.
const LOAD_AT: u32 = 0x10_0000;
/// Length of an ELF header with two program headers.
const CODE_AT: usize = 64 + 2 * 56;

/// A guest that does what `script` says, entered in 32-bit protected mode.
pub(crate) fn elf(script: &Script, turns: u32) -> Result<Vec<u8>, Failure> {
    let code = program(script, Mode::Bits32, LOAD_AT + CODE_AT as u32, turns)?;
    Ok(around(&code))
}

/// An ELF file with one segment, which is the whole file, and a PVH note.
fn around(code: &[u8]) -> Vec<u8> {
    let entry = u64::from(LOAD_AT) + CODE_AT as u64;
    let note_at = (CODE_AT + code.len()).next_multiple_of(8);
    let note_len = 12 + 4 + 8;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"); // 64 bits, little-endian
    for half in [2u16, 62] {
        file.extend_from_slice(&half.to_le_bytes()); // executable, x86-64
    }
    file.extend_from_slice(&1u32.to_le_bytes());
    for wide in [entry, 64, 0] {
        file.extend_from_slice(&wide.to_le_bytes()); // entry, program headers, no sections
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 2, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    let whole = (note_at + note_len) as u64;
    segment(&mut file, 1, 0, whole, 4096); // PT_LOAD
    segment(&mut file, 4, note_at as u64, note_len as u64, 4); // PT_NOTE
    file.extend_from_slice(code);
    file.resize(note_at, 0);
    for word in [4u32, 8, 18] {
        file.extend_from_slice(&word.to_le_bytes()); // lengths of name and value, type
    }
    file.extend_from_slice(b"Xen\0");
    file.extend_from_slice(&entry.to_le_bytes());
    file
}

fn segment(file: &mut Vec<u8>, kind: u32, offset: u64, len: u64, align: u64) {
    let address = u64::from(LOAD_AT) + offset;
    for word in [kind, 7] {
        file.extend_from_slice(&word.to_le_bytes()); // readable, writable, executable
    }
    for wide in [offset, address, address, len, len, align] {
        file.extend_from_slice(&wide.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_say_where_the_code_is() {
        let file = around(&[0xf4]);
        assert_eq!(file[CODE_AT], 0xf4);
        let entry = u64::from_le_bytes(file[24..32].try_into().unwrap());
        assert_eq!(entry, u64::from(LOAD_AT) + CODE_AT as u64);
        assert_eq!(file[file.len() - 8..], entry.to_le_bytes());
    }
}
