//! The initramfs: at the end of the RAM where the kernel looks for it.

use std::fs::File;
use std::io::Seek;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::kernel::{Kernel, length};
use super::{BootError, memory_map};

/// Longest initramfs.
const MAX_LEN: u64 = 1 << 30;
const PAGE: u64 = 0x1000;

/// An initramfs in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Initramfs {
    /// Its first address, a page's, below 4 GiB.
    pub(super) start: u64,
    /// Its length in bytes, not 0.
    pub(super) len: u64,
}

/// Copies it; nothing if the file is empty.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    file: &mut File,
    kernel: &Kernel,
) -> Result<Option<Initramfs>, BootError> {
    let what = "initramfs";
    let len = length(file, what, MAX_LEN)?;
    if len == 0 {
        return Ok(None);
    }
    let end = memory_map::low_end(memory).min(kernel.initrd_max.saturating_add(1));
    let start = place(len, kernel.end, end)?;
    file.rewind().map_err(|source| BootError::Read { what, source })?;
    memory
        .read_exact_volatile_from(GuestAddress(start), file, len as usize)
        .map_err(|source| BootError::Write { what, at: start, source })?;
    Ok(Some(Initramfs { start, len }))
}

/// The last page between `start` and `end` at which `len` bytes fit.
fn place(len: u64, start: u64, end: u64) -> Result<u64, BootError> {
    match end.checked_sub(len).map(|last| last / PAGE * PAGE) {
        Some(at) if at >= start => Ok(at),
        _ => Err(BootError::InitramfsMemory { len, start, end }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_high_as_it_may_be() {
        let check = |len, start, end, expect: Option<u64>| {
            let got = place(len, start, end);
            assert_eq!(got.as_ref().ok().copied(), expect);
            if let Err(error) = got {
                assert!(error.to_string().contains(&format!("{len} bytes")), "{error}");
            }
        };
        const MIB: u64 = 1 << 20;
        check(1, 32 * MIB, 128 * MIB, Some(128 * MIB - PAGE));
        check(PAGE, 32 * MIB, 128 * MIB, Some(128 * MIB - PAGE));
        check(PAGE + 1, 32 * MIB, 128 * MIB, Some(128 * MIB - 2 * PAGE));
        check(PAGE + 1, 32 * MIB, 128 * MIB - 1, Some(128 * MIB - 2 * PAGE));
        check(96 * MIB, 32 * MIB, 128 * MIB, Some(32 * MIB));
        check(96 * MIB + 1, 32 * MIB, 128 * MIB, None);
        check(96 * MIB, 32 * MIB + 1, 128 * MIB, None);
        check(u64::MAX, 32 * MIB, 128 * MIB, None);
        check(1, 2, 1, None);
    }
}
