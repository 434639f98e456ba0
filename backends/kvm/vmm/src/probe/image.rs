//! The guest's memory: its tables, its handlers and its program, at fixed addresses.
//!
//! All of it is below 64 KiB and mapped twice: where it is, for the kernel's ring alone, and
//! [`ALIAS`] above that, for ring 3 as well.
#![allow(unsafe_code)] // assembled code is taken as bytes

use super::assembly::code;
use super::steps::Step;

/// Size of the guest's memory, in bytes.
pub(super) const SIZE: usize = 0x1_0000;
/// The top of its page tables.
pub(super) const PAGE_TABLE: u32 = 0x1000;
/// Its segment descriptors.
pub(super) const GDT: u64 = 0x4000;
/// Its interrupt descriptors, one for each exception.
pub(super) const IDT: u64 = 0x4400;
/// Its task state, which says where the stack of the kernel's ring is.
pub(super) const TSS: u64 = 0x4800;
const HANDLERS: u64 = 0x5000;
/// Where `syscall` enters: it jumps on to what `r12` says.
pub(super) const SYSCALL_ENTRY: u32 = 0x5800;
/// The first instruction.
pub(super) const PROGRAM: u64 = 0x6000;
const PROGRAM_END: u64 = 0xa000;
/// Scratch memory, zero at first, for `cmpxchg16b`.
pub(super) const DATA: u32 = 0xa000;
/// Where the ticks of the timed rounds are left, 64 bits each.
pub(super) const TICKS: u32 = 0xa100;
/// An area for `xsave`.
pub(super) const XSAVE_AREA: u32 = 0xb000;
/// The top of the stack.
pub(super) const STACK: u64 = 0xe000;
/// How far above each address it is mapped a second time.
pub(super) const ALIAS: u32 = 2 << 20;

/// Selector of the kernel's code. `syscall` takes the next one for its stack.
pub(super) const KERNEL_CODE: u32 = 0x08;
/// Selector of data and stack.
pub(super) const KERNEL_DATA: u16 = 0x10;
/// Selector of the code before long mode.
pub(super) const PROTECTED_CODE: u16 = 0x18;
/// What `sysret` adds 8 to for a stack, and 16 for code.
pub(super) const SYSRET_BASE: u32 = 0x20 | 3;
/// Selector of ring 3's code.
pub(super) const USER_CODE: u32 = SYSRET_BASE + 16;
/// Selector of the task state.
pub(super) const TASK: u16 = 0x38;

/// Port to which the guest writes the number of each step before it takes it.
pub(super) const STEP_PORT: u8 = 0x10;
/// Port for the number of an exception that should not have been.
pub(super) const EXCEPTION_PORT: u8 = 0x11;
/// Port for the number of a step after which the zero flag was not set.
pub(super) const WRONG_PORT: u8 = 0x12;
/// Port that is written to after the last step.
pub(super) const DONE_PORT: u8 = 0x13;

/// Number of exceptions, and the distance of their handlers.
const EXCEPTIONS: u8 = 32;
const HANDLER_LEN: u64 = 16;
/// First byte of `jz`, whose second says how many bytes it leaves out.
const JZ_SHORT: u8 = 0x74;
/// The exception of `int3`.
const BREAKPOINT: u8 = 3;

/// A stretch of memory and where it belongs.
pub(super) type Piece = (u64, Vec<u8>);

/// The memory of a guest that takes `steps`; `None` if they are too long.
pub(super) fn pieces(steps: &[Step]) -> Option<Vec<Piece>> {
    let program = program(steps);
    if program.len() as u64 > PROGRAM_END - PROGRAM || steps.len() > usize::from(u8::MAX) {
        return None;
    }
    let mut pieces = vec![
        (GDT, words(&GDT_ENTRIES)),
        (TSS + 4, words(&[STACK])),
        (u64::from(SYSCALL_ENTRY), code!("jmp r12").to_vec()),
        (PROGRAM, program),
    ];
    pieces.extend(page_tables());
    pieces.extend((0..EXCEPTIONS).flat_map(handler));
    Some(pieces)
}

// Intel SDM volume 3A, 3.4.5 (code and data segments) and 8.2.3 (task state).
const GDT_ENTRIES: [u64; 9] = [
    0,
    0x00af_9b00_0000_ffff, // kernel, 64-bit code
    0x00cf_9300_0000_ffff, // kernel, data
    0x00cf_9b00_0000_ffff, // kernel, 32-bit code
    0,                     // ring 3, 32-bit code: nobody's
    0x00cf_f300_0000_ffff, // ring 3, data
    0x00af_fb00_0000_ffff, // ring 3, 64-bit code
    0x0000_8b00_0000_0067 | TSS << 16,
    0, // upper half of the one before
];

/// 4-level paging with two pages of 2 MiB, which are one (Intel SDM volume 3A, 4.5).
fn page_tables() -> [Piece; 3] {
    const USER_TABLE: u64 = 0b111;
    const PAGE: u64 = 0b1000_0011;
    const USER_PAGE: u64 = 0b1000_0111;
    let base = u64::from(PAGE_TABLE);
    [
        (base, words(&[(base + 0x1000) | USER_TABLE])),
        (base + 0x1000, words(&[(base + 0x2000) | USER_TABLE])),
        (base + 0x2000, words(&[PAGE, USER_PAGE])),
    ]
}

/// The handler of an exception, whose last word is its port write, and its gate (Intel SDM volume 3A, 6.14.1).
fn handler(vector: u8) -> [Piece; 2] {
    const INTERRUPT_GATE: u64 = 0x8e;
    let address = HANDLERS + u64::from(vector) * HANDLER_LEN;
    let gate = address | u64::from(KERNEL_CODE) << 16 | INTERRUPT_GATE << 40;
    let code = match vector {
        BREAKPOINT => code!("inc r15d\n iretq").to_vec(),
        _ => tell(EXCEPTION_PORT, vector).to_vec(),
    };
    [(address, code), (IDT + u64::from(vector) * 16, words(&[gate]))]
}

/// The steps one after the other, each announced before and looked at after.
fn program(steps: &[Step]) -> Vec<u8> {
    let mut program = Vec::new();
    for (number, step) in (0..).zip(steps) {
        let wrong = tell(WRONG_PORT, number);
        program.extend(tell(STEP_PORT, number));
        program.extend(step.code);
        program.extend([JZ_SHORT, wrong.len() as u8]);
        program.extend(wrong);
    }
    program.extend(tell(DONE_PORT, 0));
    program
}

/// `mov al, value` and `out port, al`, which are the same in 32-bit and in 64-bit code.
fn tell(port: u8, value: u8) -> [u8; 4] {
    [0xb0, value, 0xe6, port]
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::feature::Need;
    use super::super::steps;
    use super::*;

    #[test]
    fn pieces_lie_in_memory_and_do_not_overlap() {
        let mut pieces = pieces(&steps::all()).unwrap();
        pieces.sort();
        for pair in pieces.windows(2) {
            let [(first, bytes), (second, _)] = pair else { unreachable!() };
            assert!(first + bytes.len() as u64 <= *second, "{first:x} {second:x}");
        }
        assert!(pieces.iter().all(|(at, bytes)| at + (bytes.len() as u64) <= SIZE as u64));
    }

    #[test]
    fn a_step_is_announced_and_judged() {
        let step = |code| Step { name: "", needs: Need::Nothing, code };
        let expect = [
            [0xb0, 0, 0xe6, STEP_PORT, 0x90, 0x74, 4, 0xb0, 0, 0xe6, WRONG_PORT],
            [0xb0, 1, 0xe6, STEP_PORT, 0xcc, 0x74, 4, 0xb0, 1, 0xe6, WRONG_PORT],
        ]
        .concat();
        let program = program(&[step(&[0x90]), step(&[0xcc])]);
        assert_eq!(program, [&expect[..], &[0xb0, 0, 0xe6, DONE_PORT]].concat());
    }

    #[test]
    fn what_is_too_long_is_no_program() {
        let step = Step { name: "", needs: Need::Nothing, code: &[0x90; 0x4000] };
        assert!(pieces(&[step]).is_none());
    }
}
