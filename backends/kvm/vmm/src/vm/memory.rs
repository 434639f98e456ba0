//! The memory of a guest: anonymous, for as long as this process lives.
#![allow(unsafe_code)] // mappings are made by hand, for their alignment

use std::io;

use vm_memory::{GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::arch::layout;

/// Alignment that lets the host back memory with large pages, which saves most of the exits
/// for pages that are touched for the first time.
const LARGE_PAGE: usize = 2 << 20;

/// Why a guest has no memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    /// The system has none.
    #[error("cannot map {mib} MiB for the guest")]
    Map {
        /// How much was asked for.
        mib: u32,
        /// Why not.
        source: io::Error,
    },
    /// A length that no mapping can have.
    #[error("{mib} MiB are no memory of a guest")]
    Length {
        /// How much was asked for.
        mib: u32,
    },
}

/// Maps `mib` MiB of guest memory. Nothing of it is touched, and it is never unmapped.
pub(crate) fn map(mib: u32) -> Result<GuestMemoryMmap, MemoryError> {
    let regions = layout::memory_regions(mib).into_iter().map(|(base, len)| {
        let mapping = map_region(len).map_err(|source| MemoryError::Map { mib, source })?;
        GuestRegionMmap::new(mapping, base).ok_or(MemoryError::Length { mib })
    });
    let regions = regions.collect::<Result<Vec<_>, _>>()?;
    GuestMemoryMmap::from_regions(regions).map_err(|_| MemoryError::Length { mib })
}

fn map_region(len: usize) -> io::Result<MmapRegion> {
    let room = len.checked_add(LARGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), room, prot, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let skip = start.addr().next_multiple_of(LARGE_PAGE) - start.addr();
    // SAFETY: less than `LARGE_PAGE` is skipped, so `len` bytes of the mapping remain.
    let start = unsafe { start.byte_add(skip) };
    // SAFETY: both ranges of advice lie in the mapping, whose contents nobody has yet.
    unsafe {
        // A wish, and so is the next.
        libc::madvise(start, len, libc::MADV_HUGEPAGE);
        // A dump of this process, should there be one, is no copy of the guest.
        libc::madvise(start, len, libc::MADV_DONTDUMP);
    }
    // SAFETY: `len` bytes from `start` are mapped, for good, and used for nothing else.
    unsafe { MmapRegion::build_raw(start.cast(), len, prot, flags) }.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_takes_none_of_the_host() {
        // More than the host has: nothing of it is touched.
        let memory = map(64 << 10).unwrap();
        for region in vm_memory::GuestMemoryBackend::iter(&memory) {
            assert_eq!(region.as_ptr().addr() % LARGE_PAGE, 0);
        }
    }
}
