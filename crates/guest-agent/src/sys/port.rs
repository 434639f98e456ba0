//! I/O ports.
#![allow(unsafe_code)] // a port is written to by an instruction

use std::arch::asm;
use std::io;

use nix::libc;

/// Writes a byte to an I/O port.
///
/// # Errors
/// What the kernel says against it: one without `ioperm` does not let anybody.
pub(crate) fn write_byte(port: u16, value: u8) -> io::Result<()> {
    // SAFETY: plain integers; the call changes what this thread may do and nothing else.
    if unsafe { libc::ioperm(port.into(), 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the port was opened to this thread above, so the instruction does not fault; it
    // touches neither memory nor the stack nor flags.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    }
    Ok(())
}
