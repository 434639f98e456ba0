//! Which addresses are RAM, as kernels are told it: the e820 map.

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::arch::layout::{HOLE_START, KERNEL_MIN, LOW_RAM_END};

/// Types of ranges (ACPI 6.5, table 15.4); PVH's are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum RangeKind {
    Ram = 1,
    Reserved = 2,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) kind: RangeKind,
}

/// The guest's memory in ascending order: at most four ranges.
pub(super) fn of(memory: &GuestMemoryMmap) -> Vec<Range> {
    let (ram, reserved) = (RangeKind::Ram, RangeKind::Reserved);
    let mut map = vec![
        Range { start: 0, len: LOW_RAM_END, kind: ram },
        // What a firmware would keep; tables are here.
        Range { start: LOW_RAM_END, len: KERNEL_MIN - LOW_RAM_END, kind: reserved },
    ];
    for region in memory.iter() {
        let start = region.start_addr().0.max(KERNEL_MIN);
        let end = region.start_addr().0 + region.len();
        if start < end {
            map.push(Range { start, len: end - start, kind: ram });
        }
    }
    map
}

/// The first address behind the RAM that begins at 0, below 4 GiB.
pub(super) fn low_end(memory: &GuestMemoryMmap) -> u64 {
    let first = memory.iter().find(|region| region.start_addr().0 == 0);
    first.map_or(0, |region| region.len()).min(HOLE_START)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::layout::memory_regions;

    #[test]
    fn ram_without_holes() {
        let check = |mib, expect: &[(u64, u64)]| {
            // Nothing is touched: this takes no memory.
            let memory = GuestMemoryMmap::from_ranges(&memory_regions(mib)).unwrap();
            let map = of(&memory);
            let got: Vec<_> = map[2..].iter().map(|range| (range.start, range.len)).collect();
            assert_eq!(got, expect, "{mib} MiB");
            assert_eq!(map[0], Range { start: 0, len: 0x9fc00, kind: RangeKind::Ram });
            let kept = Range { start: 0x9fc00, len: 0x60400, kind: RangeKind::Reserved };
            assert_eq!(map[1], kept);
            assert_eq!(low_end(&memory), u64::from(mib.min(3072)) << 20);
        };
        const MIB: u64 = 1 << 20;
        check(1, &[]);
        check(128, &[(MIB, 127 * MIB)]);
        check(3072, &[(MIB, 3071 * MIB)]);
        check(5120, &[(MIB, 3071 * MIB), (4096 * MIB, 2048 * MIB)]);
    }
}
