//! Instructions as bytes: the assembler that builds this program writes the guest's code too.

/// Assembles instructions, with constants in them, and gives their bytes as a
/// `&'static [u8]`. They are copied before they run, so they must not depend on where they lie.
macro_rules! code {
    ($text:expr $(, $name:ident = $value:expr)* $(,)?) => {{
        let (start, end): (*const u8, *const u8);
        // SAFETY: the instructions go to a section of data and are not run here; what is run
        // takes two addresses.
        unsafe {
            std::arch::asm!(
                ".pushsection .rodata.probe, \"a\", @progbits",
                "770:",
                $text,
                "771:",
                ".popsection",
                "lea {start}, [rip + 770b]",
                "lea {end}, [rip + 771b]",
                $($name = const $value,)*
                start = out(reg) start,
                end = out(reg) end,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: the labels are the two ends of what was assembled, which is never written.
        unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
    }};
}

/// The loop that is timed, in the guest and on the host: leaves its ticks in `rax`, clobbers
/// `rcx`, `rdx` and `r8`. Plain arithmetic, which a processor runs from its own caches and an
/// interpreter has to interpret.
macro_rules! timed_loop {
    () => {
        "rdtsc
         shl rdx, 32
         lea r8, [rax + rdx]
         mov ecx, {turns}
         12:
         lea rax, [rax + rcx]
         rol rax, 7
         xor rdx, rax
         dec ecx
         jnz 12b
         rdtsc
         shl rdx, 32
         add rax, rdx
         sub rax, r8"
    };
}

pub(super) use {code, timed_loop};

#[cfg(test)]
#[allow(unsafe_code)] // the macro takes bytes by their address
mod tests {
    #[test]
    fn bytes_are_those_of_the_instructions() {
        assert_eq!(code!("int3"), [0xcc]);
        assert_eq!(code!("lock cmpxchg16b [rdi]"), [0xf0, 0x48, 0x0f, 0xc7, 0x0f]);
        assert_eq!(code!("mov eax, {n}", n = 0x1234), [0xb8, 0x34, 0x12, 0, 0]);
        assert_eq!(code!("jmp 22f\n nop\n 22:"), [0xeb, 1, 0x90]);
        assert_eq!(code!(".code32\n mov cr0, eax\n dec eax\n .code64"), [0x0f, 0x22, 0xc0, 0x48]);
        assert!(code!(timed_loop!(), turns = 1).ends_with(&[0x4c, 0x29, 0xc0]));
    }
}
