//! The descriptor table and the page tables that the boot processor starts with. Kernels
//! replace both at once.

use kvm_bindings::kvm_segment;

/// Length of the page tables: one of the fourth level, one of the third, four of the second.
#[cfg(test)]
pub(crate) const PAGE_TABLES_LEN: usize = (2 + LEVEL_2) * PAGE;

const PAGE: usize = 0x1000;
const ENTRIES: u64 = 512;
/// Tables of the second level, a GiB each: all that is below 4 GiB.
const LEVEL_2: usize = 4;
/// A large page of the second level.
const LARGE: u64 = 2 << 20;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const PAGE_SIZE: u64 = 1 << 7;

/// Page tables for `at` that map the first 4 GiB to themselves.
pub(crate) fn page_tables(at: u64) -> Vec<u8> {
    let page = |index: u64| at + index * PAGE as u64;
    let mut level_4 = vec![page(1) | PRESENT | WRITABLE];
    let mut level_3: Vec<u64> =
        (0..LEVEL_2 as u64).map(|index| page(2 + index) | PRESENT | WRITABLE).collect();
    level_4.resize(ENTRIES as usize, 0);
    level_3.resize(ENTRIES as usize, 0);
    let level_2 =
        (0..LEVEL_2 as u64 * ENTRIES).map(|n| (n * LARGE) | PRESENT | WRITABLE | PAGE_SIZE);
    level_4.into_iter().chain(level_3).chain(level_2).flat_map(u64::to_le_bytes).collect()
}

/// The segments of a boot processor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Segments {
    /// `__BOOT_CS` of the Linux boot protocol.
    pub(crate) code: kvm_segment,
    /// `__BOOT_DS`, for all data segments.
    pub(crate) data: kvm_segment,
    /// A task segment that nothing is ever stored in; processors do not run without.
    pub(crate) task: kvm_segment,
}

impl Segments {
    /// Flat 32-bit segments.
    pub(crate) fn protected() -> Self {
        Self::with_code(Code::Protected)
    }

    /// 64-bit segments.
    pub(crate) fn long() -> Self {
        Self::with_code(Code::Long)
    }

    fn with_code(code: Code) -> Self {
        let flat =
            kvm_segment { limit: u32::MAX, present: 1, s: 1, g: 1, ..kvm_segment::default() };
        let (l, db) = match code {
            Code::Protected => (0, 1),
            Code::Long => (1, 0),
        };
        Self {
            // Execute and read; read and write; both accessed. Intel SDM volume 3, 3.4.5.1.
            code: kvm_segment { selector: 0x10, type_: 0xb, l, db, ..flat },
            data: kvm_segment { selector: 0x18, type_: 0x3, db: 1, ..flat },
            // A busy task (3.5): what the processor itself would have made of a free one.
            task: kvm_segment { selector: 0x20, type_: 0xb, limit: 0x67, s: 0, g: 0, ..flat },
        }
    }

    /// The descriptor table that has these segments at their selectors.
    pub(crate) fn descriptor_table(&self) -> Vec<u8> {
        // A task's descriptor has 16 bytes in long mode; the upper half is its address's.
        let entries =
            [0, 0, descriptor(&self.code), descriptor(&self.data), descriptor(&self.task), 0];
        entries.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

enum Code {
    Protected,
    Long,
}

/// A segment as an entry of a descriptor table (Intel SDM volume 3, 3.4.5).
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = if segment.g == 1 { segment.limit >> 12 } else { segment.limit };
    let (limit, base) = (u64::from(limit), segment.base);
    (limit & 0xffff)
        | (base & 0x00ff_ffff) << 16
        | u64::from(segment.type_ & 0xf) << 40
        | u64::from(segment.s & 1) << 44
        | u64::from(segment.dpl & 3) << 45
        | u64::from(segment.present & 1) << 47
        | (limit >> 16 & 0xf) << 48
        | u64::from(segment.avl & 1) << 52
        | u64::from(segment.l & 1) << 53
        | u64::from(segment.db & 1) << 54
        | u64::from(segment.g & 1) << 55
        | (base >> 24 & 0xff) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn four_gib_map_to_themselves() {
        let at = 0x9000;
        let bytes = page_tables(at);
        assert_eq!(bytes.len(), PAGE_TABLES_LEN);
        let words = words(&bytes);
        let index = |table: u64, entry: u64| words[((table - at) / 8 + entry) as usize];
        let walk = |address: u64| {
            let table = |entry: u64| {
                assert_eq!(entry & 0xfff, PRESENT | WRITABLE);
                entry & !0xfff
            };
            let level_3 = table(index(at, address >> 39));
            let level_2 = table(index(level_3, address >> 30 & 511));
            let page = index(level_2, address >> 21 & 511);
            assert_eq!(page & 0xfff, PRESENT | WRITABLE | PAGE_SIZE);
            (page & !0xfff) + (address & (LARGE - 1))
        };
        for address in [0, 0x7000, 0x100_0000, 0x3fff_ffff, 0x4000_0000, 0xd000_0050, 0xffff_ffff] {
            assert_eq!(walk(address), address);
        }
        assert_eq!(index(at, 1), 0);
        assert_eq!(index(at + 0x1000, 4), 0);
    }

    #[test]
    fn descriptors_are_what_manuals_show() {
        let check = |segments: Segments, expect: [u64; 6]| {
            assert_eq!(words(&segments.descriptor_table()), expect);
        };
        let (data, task) = (0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067);
        check(Segments::protected(), [0, 0, 0x00cf_9b00_0000_ffff, data, task, 0]);
        check(Segments::long(), [0, 0, 0x00af_9b00_0000_ffff, data, task, 0]);
        let high = kvm_segment { base: 0x1234_5678, limit: 0xfffff, ..Default::default() };
        assert_eq!(descriptor(&high), 0x120f_0034_5678_ffff);
    }
}
