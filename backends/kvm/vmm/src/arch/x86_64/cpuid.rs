//! What a processor says of itself: all that KVM supports, but
//!
//! * where it is among the others ([`topology`]);
//! * that it runs under KVM, and at what rates its clocks run, so that a guest measures
//!   nothing (a kernel that did would need a timer that this machine has not);
//! * without virtualisation of its own and without performance counters: each is a large piece
//!   of the host's kernel, and a program in a machine of its own has no need of either.
//!
//! Frequencies are not told by leaves 0x15 and 0x16: a ratio of a crystal is not exact to
//! the kilohertz, what KVM says is.

mod topology;

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// KVM's own leaves, the first of a hypervisor's.
const HYPERVISOR: u32 = 0x4000_0000;
/// Rates of clocks, as VMware defined it and QEMU tells it for KVM.
const HYPERVISOR_CLOCKS: u32 = 0x4000_0010;
const SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"KVMK"), u32::from_le_bytes(*b"VMKV"), u32::from_le_bytes(*b"M\0\0\0")];
/// KVM's local APIC counts nanoseconds.
const APIC_BUS_KHZ: u32 = 1_000_000;

/// Bits of leaf 1, register C (Intel SDM volume 2, CPUID).
mod features {
    pub(super) const VMX: u32 = 1 << 5;
    pub(super) const PDCM: u32 = 1 << 15;
    pub(super) const X2APIC: u32 = 1 << 21;
    pub(super) const TSC_DEADLINE: u32 = 1 << 24;
    pub(super) const HYPERVISOR: u32 = 1 << 31;
}

/// Leaf 6, register A: the local timer never stops. KVM's does not.
const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;
/// Leaf 0x80000001, register C (AMD APM volume 3, E.4.2): virtualisation; performance
/// counters of the core, of the northbridge and of the last cache.
const SVM: u32 = 1 << 2;
const AMD_COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpuidError {
    /// KVM's own maximum.
    #[error("a processor's description has {0} entries, more than KVM takes")]
    TooMany(usize),
}

/// What processor `index` of `count` says, on a host whose KVM supports `supported`. The
/// time-stamp counter runs at `tsc_khz`, 0 if that is not known.
pub(crate) fn configure(
    supported: CpuId,
    index: u8,
    count: u8,
    tsc_khz: u32,
) -> Result<CpuId, CpuidError> {
    let mut entries = supported.as_slice().to_vec();
    entries.retain(|entry| !is_made_here(entry.function) && !is_withheld(entry.function));
    for entry in &mut entries {
        adjust(entry);
    }
    topology::describe(&mut entries, topology::Place { index, count });
    entries.extend(hypervisor(tsc_khz));
    CpuId::from_entries(&entries).map_err(|_| CpuidError::TooMany(entries.len()))
}

fn is_made_here(function: u32) -> bool {
    matches!(function, HYPERVISOR | HYPERVISOR_CLOCKS)
}

/// Leaves that are left out whole: they read as zero, which says that there is nothing.
fn is_withheld(function: u32) -> bool {
    const INTEL_COUNTERS: u32 = 0xa;
    const SVM_FEATURES: u32 = 0x8000_000a;
    const AMD_COUNTERS: u32 = 0x8000_0022;
    matches!(function, INTEL_COUNTERS | SVM_FEATURES | AMD_COUNTERS)
}

fn adjust(entry: &mut kvm_cpuid_entry2) {
    match entry.function {
        0x1 => {
            entry.ecx &= !(features::VMX | features::PDCM);
            // KVM has both whatever the processor has, and does not always say so.
            entry.ecx |= features::X2APIC | features::TSC_DEADLINE | features::HYPERVISOR;
        }
        0x6 => entry.eax |= ALWAYS_RUNNING_TIMER,
        0x8000_0001 => entry.ecx &= !(SVM | AMD_COUNTERS),
        _ => {}
    }
}

/// The hypervisor's first leaf, and the one of its clocks if their rate is known. The second,
/// KVM's features, is as KVM says it.
fn hypervisor(tsc_khz: u32) -> Vec<kvm_cpuid_entry2> {
    let [ebx, ecx, edx] = SIGNATURE;
    let mut first = kvm_cpuid_entry2 { function: HYPERVISOR, ebx, ecx, edx, ..Default::default() };
    if tsc_khz == 0 {
        first.eax = HYPERVISOR + 1;
        return vec![first];
    }
    first.eax = HYPERVISOR_CLOCKS;
    let clocks = kvm_cpuid_entry2 {
        function: HYPERVISOR_CLOCKS,
        eax: tsc_khz,
        ebx: APIC_BUS_KHZ,
        ..Default::default()
    };
    vec![first, clocks]
}

/// An entry of a leaf that has more than one.
fn indexed(function: u32, index: u32) -> kvm_cpuid_entry2 {
    let flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    kvm_cpuid_entry2 { function, index, flags, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ..Default::default() }
    }

    fn configured(entries: &[kvm_cpuid_entry2], tsc_khz: u32) -> Vec<kvm_cpuid_entry2> {
        let supported = CpuId::from_entries(entries).unwrap();
        configure(supported, 0, 1, tsc_khz).unwrap().as_slice().to_vec()
    }

    fn find(entries: &[kvm_cpuid_entry2], function: u32) -> Option<[u32; 4]> {
        let mut found = entries.iter().filter(|entry| entry.function == function);
        let first = found.next().map(|e| [e.eax, e.ebx, e.ecx, e.edx]);
        assert!(found.next().is_none(), "{function:#x} twice");
        first
    }

    #[test]
    fn clocks_are_told() {
        let check = |supported: &[kvm_cpuid_entry2], khz, first: u32, clocks: Option<[u32; 4]>| {
            let got = configured(supported, khz);
            let [eax, signature @ ..] = find(&got, HYPERVISOR).unwrap();
            let signature = signature.map(u32::to_le_bytes).concat();
            assert_eq!((eax, &signature[..]), (first, &b"KVMKVMKVM\0\0\0"[..]));
            assert_eq!(find(&got, HYPERVISOR_CLOCKS), clocks);
        };
        let known = Some([2_400_000, 1_000_000, 0, 0]);
        let of_kvm = kvm_cpuid_entry2 { eax: 0x4000_0001, ..leaf(HYPERVISOR) };
        check(&[of_kvm], 2_400_000, 0x4000_0010, known);
        check(&[], 2_400_000, 0x4000_0010, known);
        check(&[of_kvm, leaf(HYPERVISOR_CLOCKS)], 0, 0x4000_0001, None);
    }

    #[test]
    fn timers_need_no_calibration() {
        let got = configured(&[leaf(1), leaf(6)], 0);
        let [_, _, ecx, _] = find(&got, 1).unwrap();
        assert_eq!(ecx, 1 << 31 | 1 << 24 | 1 << 21);
        assert_eq!(find(&got, 6), Some([4, 0, 0, 0]));
    }

    #[test]
    fn what_is_withheld() {
        let all = |function| kvm_cpuid_entry2 { ecx: u32::MAX, ..leaf(function) };
        let supported = [1, 0xa, 0x8000_0001, 0x8000_000a, 0x8000_0022, 0x4000_0001].map(all);
        let got = configured(&supported, 0);
        assert_eq!(find(&got, 1).unwrap()[2], !(1 << 5 | 1 << 15));
        for function in [0xa, 0x8000_000a, 0x8000_0022] {
            assert_eq!(find(&got, function), None, "{function:#x}");
        }
        assert_eq!(find(&got, 0x8000_0001).unwrap()[2] & (1 << 2 | 1 << 23), 0);
        assert_eq!(find(&got, 0x4000_0001), Some([0, 0, u32::MAX, 0]));
    }

    #[test]
    fn more_than_kvm_takes_is_an_error() {
        let many: Vec<_> = (0..256).map(|n| leaf(0x100 + n)).collect();
        let error = configure(CpuId::from_entries(&many).unwrap(), 0, 1, 1).unwrap_err();
        assert!(error.to_string().contains("more than KVM takes"), "{error}");
    }
}
