//! Guests of a few dozen machine instructions, for backends that boot PVH kernels.
//!
//! They are ELF files with a PVH note (Xen's `x86/HVM start info`, note 18), entered in
//! 32-bit protected mode with flat segments and interrupts off. They know the first serial
//! port and nothing else, so they boot in milliseconds even without hardware acceleration,
//! and no kernel needs to be built for them.

use std::fs;
use std::path::Path;

use microagent_machine::{Boot, KernelFormat};

use crate::{End, Failure, Guests, Script, Step};

/// Where the file is loaded: 1 MiB, the lowest address that is memory on every machine.
const LOAD_AT: u32 = 0x10_0000;
/// Length of an ELF header with two program headers.
const CODE_AT: usize = 64 + 2 * 56;
/// A dot is written after so many turns of a loop: some 10 ms without acceleration.
const TURNS_PER_TICK: u32 = 4_000_000;
/// What Linux prints first in a panic.
const PANIC: &str = "Kernel panic - not syncing: asked for\n";

/// Guests of a few dozen machine instructions.
#[derive(Debug, Clone, Copy, Default)]
pub struct BareGuests;

impl Guests for BareGuests {
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure> {
        let (kernel, initramfs) = (dir.join("bare.elf"), dir.join("bare.cpio"));
        fs::write(&kernel, elf(&program(script)?))?;
        // Nobody reads it.
        fs::write(&initramfs, [0; 512])?;
        let cmdline = String::new();
        Ok(Boot { kernel, format: KernelFormat::Vmlinux, initramfs, cmdline })
    }
}

/// The machine code of a script.
fn program(script: &Script) -> Result<Vec<u8>, Failure> {
    let mut code = Code::default();
    for step in &script.steps {
        match step {
            Step::Say(word) => code.say(&format!("{word}\n")),
            Step::Ticks(count) => code.ticks(*count),
            other => return Err(Failure::Unavailable(format!("bare guests cannot {other:?}"))),
        }
    }
    match script.end {
        End::Never => code.halt(),
        End::Reset | End::PowerOff => code.triple_fault(),
        End::Panic => {
            code.say(PANIC);
            code.triple_fault();
        }
    }
    Ok(code.bytes)
}

/// Machine code under way; offsets are relative, so it can grow at its end.
#[derive(Debug, Default)]
struct Code {
    bytes: Vec<u8>,
}

impl Code {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The address of the next instruction.
    fn here(&self) -> u32 {
        LOAD_AT + (CODE_AT + self.bytes.len()) as u32
    }

    /// Writes the byte in `ah` to the serial port, once that has room.
    fn write_byte(&mut self) {
        self.add(&[0x66, 0xba, 0xfd, 0x03]); // wait: mov dx, 0x3fd (line status)
        self.add(&[0xec, 0xa8, 0x20]); // in al, dx; test al, 0x20 (room)
        self.add(&[0x74, 0xfb]); // jz to the `in`
        self.add(&[0x66, 0xba, 0xf8, 0x03]); // mov dx, 0x3f8 (data)
        self.add(&[0x88, 0xe0, 0xee]); // mov al, ah; out dx, al
    }

    fn say(&mut self, text: &str) {
        for byte in text.bytes() {
            self.add(&[0xb4, byte]); // mov ah, byte
            self.write_byte();
        }
    }

    fn ticks(&mut self, count: u32) {
        self.add(&[0xbb]); // mov ebx, count
        self.add(&count.to_le_bytes());
        let again = self.bytes.len();
        self.add(&[0xb9]); // mov ecx, turns
        self.add(&TURNS_PER_TICK.to_le_bytes());
        self.add(&[0x49, 0x75, 0xfd]); // dec ecx; jnz to it
        self.say(".");
        self.add(&[0x4b]); // dec ebx
        let back = again as i64 - (self.bytes.len() as i64 + 2);
        self.add(&[0x75, back as i8 as u8]); // jnz again
    }

    fn halt(&mut self) {
        self.add(&[0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the `hlt`
    }

    /// An exception without any handler: the processor shuts down, and the machine resets.
    fn triple_fault(&mut self) {
        let table = self.here() + 7 + 1 + 4;
        self.add(&[0x0f, 0x01, 0x1d]); // lidt [table]
        self.add(&table.to_le_bytes());
        self.add(&[0xcc]); // int3
        self.halt();
        self.add(&[0; 6]); // table: no entries
    }
}

/// An ELF file with one segment, which is the whole file, and a PVH note.
fn elf(code: &[u8]) -> Vec<u8> {
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
        let file = elf(&[0xf4]);
        assert_eq!(file[CODE_AT], 0xf4);
        let entry = u64::from_le_bytes(file[24..32].try_into().unwrap());
        assert_eq!(entry, u64::from(LOAD_AT) + CODE_AT as u64);
        assert_eq!(file[file.len() - 8..], entry.to_le_bytes());
    }

    #[test]
    fn the_fault_finds_its_empty_table() {
        let mut code = Code::default();
        code.triple_fault();
        let table = u32::from_le_bytes(code.bytes[3..7].try_into().unwrap());
        let offset = (table - LOAD_AT) as usize - CODE_AT;
        assert_eq!(code.bytes[offset..], [0; 6]);
    }

    #[test]
    fn what_needs_a_kernel_is_unavailable() {
        let script = Script::new([Step::CountCpus], End::Never);
        assert!(matches!(program(&script), Err(Failure::Unavailable(_))));
    }
}
