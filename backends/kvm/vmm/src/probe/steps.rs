//! What the guest does, step by step, in the order in which a kernel would.
//!
//! Each step starts where the one before it ended, clobbers any general register but the stack
//! pointer, and leaves the zero flag set if the processor did what it should. What it refers to
//! is at the addresses that [`image`](super::image) names.
#![allow(unsafe_code)] // assembled code is taken as bytes, and the loop runs on the host as well

use std::arch::asm;

use super::assembly::{code, timed_loop};
use super::feature::{CX16, LONG_MODE, Need, SMAP, SYSCALL, XSAVE};
use super::image::{
    ALIAS, DATA, KERNEL_CODE, PAGE_TABLE, SYSCALL_ENTRY, SYSRET_BASE, TICKS, USER_CODE, XSAVE_AREA,
};

/// How often the timed loop goes round: some 10 µs on a processor.
const TURNS: u32 = 10_000;
/// How often it is timed. The quickest counts, since anything may interrupt the others.
pub(super) const ROUNDS: usize = 3;

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// What an operator is told that it is.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) needs: Need,
    /// Its instructions.
    pub(super) code: &'static [u8],
}

/// All of them. The guest is in protected mode before the first, as a kernel is at its PVH
/// entry, and in ring 3 before the last.
pub(super) fn all() -> [Step; 11] {
    [
        long_mode(),
        timed(),
        int3(),
        cmpxchg16b(),
        xsetbv(),
        xsave(),
        xrstor(),
        stac(),
        clac(),
        sysret(),
        syscall(),
    ]
}

/// The ticks that [`timed`] takes on the host.
pub(super) fn ticks_on_host() -> u64 {
    let once = || {
        let ticks: u64;
        // SAFETY: it computes in the registers that are named, and touches no memory.
        unsafe {
            asm!(
                timed_loop!(),
                turns = const TURNS,
                out("rax") ticks, out("rcx") _, out("rdx") _, out("r8") _,
                options(nomem, nostack),
            );
        }
        ticks
    };
    (0..ROUNDS).map(|_| once()).fold(u64::MAX, u64::min)
}

/// The far return goes to what the call left on the stack, behind the new code segment.
fn long_mode() -> Step {
    let code = code!(
        ".code32
         mov eax, cr4
         or eax, {pae_and_sse}
         mov cr4, eax
         mov eax, {page_table}
         mov cr3, eax
         mov ecx, {efer}
         rdmsr
         or eax, {lme}
         wrmsr
         mov eax, cr0
         or eax, {paging}
         mov cr0, eax
         push {kernel_code}
         call 21f
         .code64
         jmp 22f
         .code32
         21:
         retf
         .code64
         22:
         cmp eax, eax",
        pae_and_sse = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
        page_table = PAGE_TABLE,
        efer = MSR_EFER,
        lme = EFER_LME,
        paging = CR0_PG | CR0_WP,
        kernel_code = KERNEL_CODE,
    );
    Step { name: "the switch to long mode", needs: Need::Always(LONG_MODE), code }
}

/// The loop, and the ticks of each of its rounds at [`TICKS`].
fn timed() -> Step {
    let code = code!(
        concat!(
            "mov edi, {to}
             mov esi, {rounds}
             21:",
            timed_loop!(),
            "
             mov [rdi], rax
             add rdi, 8
             dec esi
             jnz 21b"
        ),
        to = TICKS,
        rounds = ROUNDS,
        turns = TURNS,
    );
    Step { name: "a loop", needs: Need::Nothing, code }
}

/// The handler counts in `r15`.
fn int3() -> Step {
    let code = code!("xor r15d, r15d\n int3\n cmp r15d, 1");
    Step { name: "int3", needs: Need::Nothing, code }
}

fn cmpxchg16b() -> Step {
    let code = code!(
        "mov edi, {data}
         xor eax, eax
         xor edx, edx
         xor ecx, ecx
         mov ebx, 1
         lock cmpxchg16b [rdi]
         cmp qword ptr [rdi], 1",
        data = DATA,
    );
    Step { name: "lock cmpxchg16b", needs: Need::Always(CX16), code }
}

fn xsetbv() -> Step {
    let code = code!(
        "mov rax, cr4
         or eax, {osxsave}
         mov cr4, rax
         xor ecx, ecx
         xor edx, edx
         mov eax, {x87_and_sse}
         xsetbv
         cmp eax, eax",
        osxsave = CR4_OSXSAVE,
        x87_and_sse = XCR0_X87_AND_SSE,
    );
    Step { name: "xsetbv", needs: Need::IfOffered(XSAVE), code }
}

fn xsave() -> Step {
    let code = code!(
        "mov edi, {area}
         mov eax, {x87_and_sse}
         xor edx, edx
         xsave64 [rdi]
         cmp dword ptr [rdi + {mxcsr}], {initial}",
        area = XSAVE_AREA,
        x87_and_sse = XCR0_X87_AND_SSE,
        mxcsr = XSAVE_MXCSR,
        initial = MXCSR_INITIAL,
    );
    Step { name: "xsave64", needs: Need::IfOffered(XSAVE), code }
}

/// Restores what was saved but for one flag, and saves again to see it.
fn xrstor() -> Step {
    let code = code!(
        "mov edi, {area}
         mov eax, {x87_and_sse}
         xor edx, edx
         mov dword ptr [rdi + {mxcsr}], {changed}
         xrstor64 [rdi]
         mov dword ptr [rdi + {mxcsr}], 0
         xsave64 [rdi]
         cmp dword ptr [rdi + {mxcsr}], {changed}",
        area = XSAVE_AREA,
        x87_and_sse = XCR0_X87_AND_SSE,
        mxcsr = XSAVE_MXCSR,
        changed = MXCSR_INITIAL | MXCSR_FLUSH_TO_ZERO,
    );
    Step { name: "xrstor64", needs: Need::IfOffered(XSAVE), code }
}

/// With SMAP on, a page of ring 3 can be read only after it.
fn stac() -> Step {
    let code = code!(
        "mov rax, cr4
         or eax, {smap}
         mov cr4, rax
         stac
         mov eax, [{data} + {alias}]
         cmp eax, [{data}]",
        smap = CR4_SMAP,
        data = DATA,
        alias = ALIAS,
    );
    Step { name: "stac", needs: Need::IfOffered(SMAP), code }
}

fn clac() -> Step {
    let code = code!("clac\n pushfq\n pop rax\n test eax, {ac}", ac = RFLAGS_AC);
    Step { name: "clac", needs: Need::IfOffered(SMAP), code }
}

/// To ring 3, where it can still write to ports.
fn sysret() -> Step {
    let code = code!(
        "mov ecx, {star}
         xor eax, eax
         mov edx, {selectors}
         wrmsr
         mov ecx, {lstar}
         mov eax, {entry}
         xor edx, edx
         wrmsr
         mov ecx, {fmask}
         xor eax, eax
         wrmsr
         mov ecx, {efer}
         rdmsr
         or eax, {sce}
         wrmsr
         lea rcx, [rip + 21f]
         add rcx, {alias}
         mov r11d, {iopl_3}
         sysretq
         21:
         mov eax, cs
         cmp eax, {user_code}",
        star = MSR_STAR,
        selectors = SYSRET_BASE << 16 | KERNEL_CODE,
        lstar = MSR_LSTAR,
        entry = SYSCALL_ENTRY,
        fmask = MSR_FMASK,
        efer = MSR_EFER,
        sce = EFER_SCE,
        alias = ALIAS,
        iopl_3 = RFLAGS_IOPL_3 | RFLAGS_RESERVED,
        user_code = USER_CODE,
    );
    Step { name: "sysretq", needs: Need::Always(SYSCALL), code }
}

/// The entry jumps to what `r12` says.
fn syscall() -> Step {
    let code = code!(
        "lea r12, [rip + 21f]
         sub r12, {alias}
         syscall
         21:
         mov eax, cs
         cmp eax, {kernel_code}",
        alias = ALIAS,
        kernel_code = KERNEL_CODE,
    );
    Step { name: "syscall", needs: Need::Always(SYSCALL), code }
}

// Intel SDM volume 3A, 2.5 (control registers), 5.8.8 (system calls); volume 1, 3.4.3 (RFLAGS),
// 10.2.3 (MXCSR) and 13.4 (XSAVE area); volume 4, table 2-2 (MSRs).
const CR0_WP: u32 = 1 << 16;
const CR0_PG: u32 = 1 << 31;
const CR4_PAE: u32 = 1 << 5;
const CR4_OSFXSR: u32 = 1 << 9;
const CR4_OSXMMEXCPT: u32 = 1 << 10;
const CR4_OSXSAVE: u32 = 1 << 18;
const CR4_SMAP: u32 = 1 << 21;
const MSR_EFER: u32 = 0xc000_0080;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_FMASK: u32 = 0xc000_0084;
const EFER_SCE: u32 = 1 << 0;
const EFER_LME: u32 = 1 << 8;
const RFLAGS_RESERVED: u32 = 1 << 1;
const RFLAGS_IOPL_3: u32 = 3 << 12;
const RFLAGS_AC: u32 = 1 << 18;
const XCR0_X87_AND_SSE: u32 = 3;
const XSAVE_MXCSR: u32 = 24;
const MXCSR_INITIAL: u32 = 0x1f80;
const MXCSR_FLUSH_TO_ZERO: u32 = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_holds_what_it_is_named_after() {
        let check = |name: &str, instruction: &[u8]| {
            let step = all().into_iter().find(|step| step.name == name).unwrap();
            assert!(step.code.windows(instruction.len()).any(|w| w == instruction), "{step:x?}");
        };
        check("the switch to long mode", &[0x0f, 0x22, 0xc0]);
        check("a loop", &[0x0f, 0x31]);
        check("int3", &[0xcc]);
        check("lock cmpxchg16b", &[0xf0, 0x48, 0x0f, 0xc7]);
        check("xsetbv", &[0x0f, 0x01, 0xd1]);
        check("xsave64", &[0x48, 0x0f, 0xae, 0x27]);
        check("xrstor64", &[0x48, 0x0f, 0xae, 0x2f]);
        check("stac", &[0x0f, 0x01, 0xcb]);
        check("clac", &[0x0f, 0x01, 0xca]);
        check("sysretq", &[0x48, 0x0f, 0x07]);
        check("syscall", &[0x0f, 0x05]);
    }

    #[test]
    fn the_host_takes_some_time() {
        assert!(ticks_on_host() > u64::from(TURNS) / 10);
    }
}
