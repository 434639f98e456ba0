//! Where a processor is among the others: one package, one core for each processor, one thread
//! for each core. Caches of the first two levels are a core's own, the third is everybody's.

use kvm_bindings::kvm_cpuid_entry2;

use super::indexed;

/// A processor and how many there are. Its APIC's identifier is its index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) index: u8,
    pub(super) count: u8,
}

impl Place {
    fn id(self) -> u32 {
        u32::from(self.index)
    }

    fn count(self) -> u32 {
        u32::from(self.count.max(1))
    }

    /// How many bits of an identifier say which core it is.
    fn bits(self) -> u32 {
        self.count().next_power_of_two().trailing_zeros()
    }
}

/// Leaves that list levels of the topology: of AMD and Intel, and of Intel alone.
const LEVELS: [u32; 2] = [0xb, 0x1f];
/// The same of AMD alone; nothing needs it beside 0xb.
const AMD_LEVELS: u32 = 0x8000_0026;

/// Makes all leaves that say something of it agree.
pub(super) fn describe(entries: &mut Vec<kvm_cpuid_entry2>, place: Place) {
    // Most kernels believe 0x1f where it says anything, else 0xb.
    let listed = LEVELS.map(|leaf| entries.iter().any(|entry| entry.function == leaf));
    entries.retain(|entry| !LEVELS.contains(&entry.function) && entry.function != AMD_LEVELS);
    for entry in entries.iter_mut() {
        adjust(entry, place);
    }
    for (leaf, listed) in LEVELS.into_iter().zip(listed) {
        if listed {
            entries.extend(levels(leaf, place));
        }
    }
}

fn adjust(entry: &mut kvm_cpuid_entry2, place: Place) {
    const HYPER_THREADING: u32 = 1 << 28;
    const LEGACY_MULTI_CORE: u32 = 1 << 1;
    let several = place.count() > 1;
    match entry.function {
        0x1 => {
            let count = 1 << place.bits();
            entry.ebx = entry.ebx & 0xffff | count << 16 | place.id() << 24;
            set(&mut entry.edx, HYPER_THREADING, several);
        }
        // Intel's caches. Bits 31 to 26 count cores with identifiers, less one.
        0x4 if entry.eax & 0x1f != 0 => {
            let cores = (1 << place.bits()) - 1;
            entry.eax = entry.eax & 0x3fff | sharing(entry.eax, place) << 14 | cores << 26;
        }
        0x8000_0001 => set(&mut entry.ecx, LEGACY_MULTI_CORE, several),
        // AMD: cores less one, and bits of the identifier.
        0x8000_0008 => {
            entry.ecx = entry.ecx & !0xf0ff | (place.count() - 1) | place.bits() << 12;
        }
        // AMD's caches.
        0x8000_001d if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | sharing(entry.eax, place) << 14;
        }
        // AMD: identifier, core with one thread, first and only node.
        0x8000_001e => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (place.id(), place.id(), 0, 0);
        }
        _ => {}
    }
}

fn set(register: &mut u32, bits: u32, on: bool) {
    *register = if on { *register | bits } else { *register & !bits };
}

/// Processors less one that share the cache of which `eax` tells.
fn sharing(eax: u32, place: Place) -> u32 {
    let level = eax >> 5 & 7;
    if level < 3 { 0 } else { (1 << place.bits()) - 1 }
}

/// Thread, core, end (Intel SDM volume 2, CPUID leaf 0xb).
fn levels(leaf: u32, place: Place) -> [kvm_cpuid_entry2; 3] {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    let level = |index, eax, ebx, kind| kvm_cpuid_entry2 {
        eax,
        ebx,
        ecx: kind | index,
        edx: place.id(),
        ..indexed(leaf, index)
    };
    [level(0, 0, 1, THREAD), level(1, place.bits(), place.count(), CORE), level(2, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(entries: &[kvm_cpuid_entry2], index: u8, count: u8) -> Vec<kvm_cpuid_entry2> {
        let mut entries = entries.to_vec();
        describe(&mut entries, Place { index, count });
        entries
    }

    fn leaf(function: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ..Default::default() }
    }

    fn registers(entry: &kvm_cpuid_entry2) -> [u32; 4] {
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    }

    #[test]
    fn leaves_of_one_entry() {
        let check = |supported, index, count, expect: [u32; 4]| {
            let got = described(&[supported], index, count);
            assert_eq!(registers(&got[0]), expect, "{:#x}", supported.function);
        };
        let host = kvm_cpuid_entry2 { ebx: 0x0710_0800, edx: 1 << 28, ..leaf(1) };
        check(host, 0, 1, [0, 0x0001_0800, 0, 0]);
        check(host, 2, 3, [0, 0x0204_0800, 0, 1 << 28]);
        check(host, 31, 32, [0, 0x1f20_0800, 0, 1 << 28]);
        let host = kvm_cpuid_entry2 { eax: 0x3030, ebx: 7, ecx: 0x0000_703f, ..leaf(0x8000_0008) };
        check(host, 0, 1, [0x3030, 7, 0, 0]);
        check(host, 0, 3, [0x3030, 7, 0x2002, 0]);
        let host = kvm_cpuid_entry2 { ecx: 0x10, ..leaf(0x8000_0001) };
        check(host, 0, 1, [0, 0, 0x10, 0]);
        check(host, 0, 2, [0, 0, 0x12, 0]);
        let host = kvm_cpuid_entry2 { eax: 9, ebx: 0x101, ecx: 0x703, ..leaf(0x8000_001e) };
        check(host, 5, 8, [5, 5, 0, 0]);
    }

    #[test]
    fn caches() {
        let check = |function, kind_and_level: u32, count, expect: u32| {
            let host = kvm_cpuid_entry2 { eax: kind_and_level | 0xffff_c000, ..leaf(function) };
            assert_eq!(described(&[host], 0, count)[0].eax, expect, "{function:#x}");
        };
        let (first, second, third) = (1 | 1 << 5, 3 | 2 << 5, 3 | 3 << 5);
        check(0x4, first, 4, first | 3 << 26);
        check(0x4, second, 4, second | 3 << 26);
        check(0x4, third, 3, third | 3 << 14 | 3 << 26);
        check(0x4, third, 1, third);
        check(0x8000_001d, third, 32, third | 31 << 14);
        check(0x8000_001d, second, 32, second);
        assert_eq!(described(&[leaf(0x4)], 0, 4)[0].eax, 0);
    }

    #[test]
    fn levels_replace_those_of_the_host() {
        let host =
            |function, index| kvm_cpuid_entry2 { eax: 7, edx: 99, ..indexed(function, index) };
        let got = described(&[host(0xb, 0), host(0xb, 1), host(AMD_LEVELS, 0)], 2, 3);
        let got: Vec<_> = got.iter().map(|e| (e.function, e.index, registers(e))).collect();
        assert_eq!(
            got,
            [(0xb, 0, [0, 1, 0x100, 2]), (0xb, 1, [2, 3, 0x201, 2]), (0xb, 2, [0, 0, 0x002, 2]),]
        );
        assert_eq!(described(&[host(0xb, 0), host(0x1f, 0)], 0, 1).len(), 6);
        assert!(described(&[], 0, 1).is_empty());
    }
}
