//! Guests of a few dozen instructions, as ELF files with a PVH note: 32-bit protected mode,
//! flat segments, no paging, interrupts off.

/// Where the code is loaded and entered.
const CODE_AT: u32 = 0x10_0000;
/// Length of an ELF header with two program headers.
const HEADERS: usize = 64 + 2 * 56;
/// The first serial line.
const COM1: u16 = 0x3f8;
/// Powers off.
const EXIT: u16 = 0x604;

/// A guest under way. Its code grows at the end; data lies wherever it is put above.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    code: Vec<u8>,
    data: Vec<(u32, Vec<u8>)>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds instructions.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// Puts bytes into memory, at 0x11_0000 or above.
    pub(crate) fn data(mut self, address: u32, bytes: impl Into<Vec<u8>>) -> Self {
        assert!(address >= 0x11_0000);
        self.data.push((address, bytes.into()));
        self
    }

    /// `mov dx, port; mov al, value; out dx, al`
    pub(crate) fn out(self, port: u16, value: u8) -> Self {
        let [low, high] = port.to_le_bytes();
        self.raw(&[0x66, 0xba, low, high, 0xb0, value, 0xee])
    }

    /// Writes to the serial line, which always has room.
    pub(crate) fn say(self, text: &str) -> Self {
        text.bytes().fold(self, |guest, byte| guest.out(COM1, byte))
    }

    /// Writes memory to the serial line: `mov esi, address; mov ecx, len; mov dx, port;
    /// rep outsb`
    pub(crate) fn say_memory(self, address: u32, len: u32) -> Self {
        let [low, high] = COM1.to_le_bytes();
        self.raw(&[0xbe])
            .raw(&address.to_le_bytes())
            .raw(&[0xb9])
            .raw(&len.to_le_bytes())
            .raw(&[0x66, 0xba, low, high, 0xf3, 0x6e])
    }

    /// `mov dword [address], value`
    pub(crate) fn write(self, address: u32, value: u32) -> Self {
        self.raw(&[0xc7, 0x05]).raw(&address.to_le_bytes()).raw(&value.to_le_bytes())
    }

    /// `mov eax, [from]; mov [to], eax`
    pub(crate) fn copy(self, from: u32, to: u32) -> Self {
        self.raw(&[0xa1]).raw(&from.to_le_bytes()).raw(&[0xa3]).raw(&to.to_le_bytes())
    }

    /// Waits until the 16 bits at an address have a value: `cmp word [address], value; jne`
    pub(crate) fn wait_for(self, address: u32, value: u16) -> Self {
        self.raw(&[0x66, 0x81, 0x3d])
            .raw(&address.to_le_bytes())
            .raw(&value.to_le_bytes())
            .raw(&[0x75, 0xf5])
    }

    /// `jmp` to itself.
    pub(crate) fn spin(self) -> Vec<u8> {
        self.raw(&[0xeb, 0xfe]).file()
    }

    /// An exception without a handler: `lidt [empty]; ud2`
    pub(crate) fn triple_fault(self) -> Vec<u8> {
        const EMPTY: u32 = 0x11_0000;
        self.data(EMPTY, [0; 8])
            .raw(&[0x0f, 0x01, 0x1d])
            .raw(&EMPTY.to_le_bytes())
            .raw(&[0x0f, 0x0b])
            .spin()
    }

    /// Powers off.
    pub(crate) fn power_off(self) -> Vec<u8> {
        self.out(EXIT, 0).spin()
    }

    /// The file.
    fn file(self) -> Vec<u8> {
        let Self { code, data } = self;
        let end = data.iter().map(|(at, bytes)| *at as usize + bytes.len()).max();
        let mut memory = code;
        memory.resize(memory.len().max(end.unwrap_or(0).saturating_sub(CODE_AT as usize)), 0);
        for (at, bytes) in data {
            let at = (at - CODE_AT) as usize;
            memory[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        around(&memory)
    }
}

/// An ELF file with one segment and a PVH note.
fn around(memory: &[u8]) -> Vec<u8> {
    let note_at = (HEADERS + memory.len()).next_multiple_of(8);
    let note_len = 12 + 4 + 8;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    file.extend([u64::from(CODE_AT), 64, 0].iter().flat_map(|wide| wide.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 2, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    segment(&mut file, 1, HEADERS as u64, CODE_AT.into(), memory.len() as u64);
    segment(&mut file, 4, note_at as u64, 0, note_len);
    file.extend_from_slice(memory);
    file.resize(note_at, 0);
    file.extend([4u32, 8, 18].iter().flat_map(|word| word.to_le_bytes()));
    file.extend_from_slice(b"Xen\0");
    file.extend(u64::from(CODE_AT).to_le_bytes());
    file
}

fn segment(file: &mut Vec<u8>, kind: u32, offset: u64, address: u64, len: u64) {
    file.extend([kind, 7].iter().flat_map(|word| word.to_le_bytes()));
    let fields = [offset, address, address, len, len, 8];
    file.extend(fields.iter().flat_map(|wide| wide.to_le_bytes()));
}
