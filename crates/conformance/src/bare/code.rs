//! Scripts as machine code.

use crate::{End, Failure, Script, Step};

/// A dot is written after so many turns of a loop: some 10 ms where code is translated.
pub(crate) const TURNS_PER_TICK: u32 = 4_000_000;
/// The same where each instruction is interpreted.
pub(crate) const TURNS_PER_TICK_INTERPRETED: u32 = 4_000;
/// What Linux prints first in a panic.
const PANIC: &str = "Kernel panic - not syncing: asked for\n";
/// A write to this port ends a machine that declares `PowerOff::ExitPort`. Where there is
/// none it is nobody's, and what follows is a reset.
const EXIT_PORT: u16 = 0x604;
/// Cloud Hypervisor's sleep control register (ACPI 6.5, 4.8.3.7), which a kernel finds in the
/// tables. On other machines it is nobody's.
const SLEEP_PORT: u16 = 0x600;
/// What is written there to power off: sleep type 5, and enable.
const POWER_OFF: u8 = (5 << 2) | (1 << 5);

/// In which mode of the processor code is entered; interrupts are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Real mode.
    Bits16,
    /// Protected mode with flat segments, without paging.
    Bits32,
    /// Long mode, mapped one to one.
    Bits64,
}

/// The machine code of a script. `base` is the address of its first instruction, relative
/// to the code segment, and `turns` are those of a loop that make a tick.
pub(crate) fn program(
    script: &Script,
    mode: Mode,
    base: u32,
    turns: u32,
) -> Result<Vec<u8>, Failure> {
    let mut code = Code { mode, base, bytes: Vec::new() };
    for step in &script.steps {
        match step {
            Step::Say(word) => code.say(&format!("{word}\n")),
            Step::Ticks(count) if mode != Mode::Bits16 => code.ticks(*count, turns),
            other => return Err(Failure::Unavailable(format!("bare guests cannot {other:?}"))),
        }
    }
    match script.end {
        End::Never => code.halt(),
        End::PowerOff => {
            code.exit();
            code.triple_fault();
        }
        End::Reset => code.triple_fault(),
        End::Panic => {
            code.say(PANIC);
            code.triple_fault();
        }
    }
    Ok(code.bytes)
}

/// Machine code under way; jumps are relative, so it can grow at its end.
#[derive(Debug)]
struct Code {
    mode: Mode,
    base: u32,
    bytes: Vec<u8>,
}

impl Code {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `mov dx, port`
    fn port(&mut self, port: u16) {
        if self.mode != Mode::Bits16 {
            self.add(&[0x66]); // 16-bit operand
        }
        self.add(&[0xba]);
        self.add(&port.to_le_bytes());
    }

    /// Writes a byte to the serial port, once that has room.
    fn write_byte(&mut self, byte: u8) {
        self.port(0x3fd); // line status
        self.add(&[0xec, 0xa8, 0x20]); // in al, dx; test al, 0x20 (room)
        self.add(&[0x74, 0xfb]); // jz to the `in`
        self.port(0x3f8); // data
        self.add(&[0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }

    fn say(&mut self, text: &str) {
        for byte in text.bytes() {
            self.write_byte(byte);
        }
    }

    fn ticks(&mut self, count: u32, turns: u32) {
        self.add(&[0xbb]); // mov ebx, count
        self.add(&count.to_le_bytes());
        let again = self.bytes.len();
        self.add(&[0xb9]); // mov ecx, turns
        self.add(&turns.to_le_bytes());
        self.add(&[0xff, 0xc9, 0x75, 0xfc]); // dec ecx; jnz to it
        self.write_byte(b'.');
        self.add(&[0xff, 0xcb]); // dec ebx
        let back = again as i64 - (self.bytes.len() as i64 + 2);
        self.add(&[0x75, back as i8 as u8]); // jnz again
    }

    fn halt(&mut self) {
        self.add(&[0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the `hlt`
    }

    fn exit(&mut self) {
        for (port, byte) in [(EXIT_PORT, 0), (SLEEP_PORT, POWER_OFF)] {
            self.port(port);
            self.add(&[0xb0, byte, 0xee]); // mov al, byte; out dx, al
        }
    }

    /// An exception without any handler: the processor shuts down, and the machine resets.
    fn triple_fault(&mut self) {
        let lidt: &[u8] = match self.mode {
            Mode::Bits16 => &[0x2e, 0x0f, 0x01, 0x1e], // lidt cs:[table]
            Mode::Bits32 => &[0x0f, 0x01, 0x1d],       // lidt [table]
            Mode::Bits64 => &[0x0f, 0x01, 0x1c, 0x25], // lidt [table], not relative
        };
        self.add(lidt);
        let address_len = if self.mode == Mode::Bits16 { 2 } else { 4 };
        // A division by zero: not all that runs guests knows `int3`.
        let divide = [0x30, 0xc0, 0xf6, 0xf0]; // xor al, al; div al
        // The address, that and `halt` stand between here and the table.
        let table = self.base + (self.bytes.len() + address_len + divide.len() + 4) as u32;
        self.add(&table.to_le_bytes()[..address_len]);
        self.add(&divide);
        self.halt();
        self.add(&[0; 10]); // table: no entries, at no address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: Mode, address_at: usize, address_len: usize) {
        let code = program(&Script::new([], End::Reset), mode, 0x1000, 1).unwrap();
        let mut address = [0; 4];
        address[..address_len].copy_from_slice(&code[address_at..][..address_len]);
        let offset = (u32::from_le_bytes(address) - 0x1000) as usize;
        assert_eq!(code[offset..], [0; 10], "{mode:?}");
    }

    #[test]
    fn the_fault_finds_its_empty_table() {
        check(Mode::Bits16, 4, 2);
        check(Mode::Bits32, 3, 4);
        check(Mode::Bits64, 4, 4);
    }

    #[test]
    fn what_needs_a_kernel_is_unavailable() {
        let script = Script::new([Step::CountCpus], End::Never);
        let made = program(&script, Mode::Bits32, 0, 1);
        assert!(matches!(made, Err(Failure::Unavailable(_))));
    }
}
