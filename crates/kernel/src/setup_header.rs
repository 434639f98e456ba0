//! The setup header of a compressed x86 kernel.
//!
//! Source: `Documentation/x86/boot.rst` of Linux, "The Real-Mode Kernel Header".

use microagent_machine::KernelFormat;

use crate::inspect::Refusal;

const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADFLAGS: usize = 0x211;
const XLOADFLAGS: usize = 0x236;

/// The version from which on `xloadflags` exists.
const FIRST_64_BIT: u16 = 0x020c;
/// `LOADED_HIGH` of `loadflags`: a bzImage, not a zImage.
const LOADED_HIGH: u8 = 1;
/// `XLF_KERNEL_64` of `xloadflags`: has the 64-bit entry point.
const KERNEL_64: u8 = 1;

/// Whether `head` has a setup header.
pub(crate) fn present(head: &[u8]) -> bool {
    head.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(b"\x55\xaa")
        && head.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// Whether the kernel that begins with `head`, which has a setup header, can be booted.
pub(crate) fn recognise(head: &[u8]) -> Result<KernelFormat, Refusal> {
    let (Some(version), Some(&loadflags), Some(&xloadflags)) =
        (head.get(VERSION..VERSION + 2), head.get(LOADFLAGS), head.get(XLOADFLAGS))
    else {
        return Err(refusal("is a truncated bzImage"));
    };
    let version = u16::from_le_bytes([version[0], version[1]]);
    if loadflags & LOADED_HIGH == 0 {
        return Err(refusal("is a zImage, not a bzImage"));
    }
    if version < FIRST_64_BIT || xloadflags & KERNEL_64 == 0 {
        return Err(refusal("is a 32-bit bzImage, not an x86-64 kernel"));
    }
    Ok(KernelFormat::BzImage)
}

fn refusal(why: &str) -> Refusal {
    Refusal { why: why.into(), hint: None }
}
