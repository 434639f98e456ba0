//! What a step of the guest needs that a processor may lack.

use kvm_bindings::CpuId;

/// What a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// What no kernel that is run here can do without.
    Always(Feature),
    /// What a kernel uses where it is offered.
    IfOffered(Feature),
}

/// A bit of CPUID, in the first subleaf of its leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feature {
    leaf: u32,
    register: Register,
    bit: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Ebx,
    Ecx,
    Edx,
}

// Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
pub(super) const CX16: Feature = Feature { leaf: 1, register: Register::Ecx, bit: 13 };
pub(super) const XSAVE: Feature = Feature { leaf: 1, register: Register::Ecx, bit: 26 };
pub(super) const SMAP: Feature = Feature { leaf: 7, register: Register::Ebx, bit: 20 };
pub(super) const SYSCALL: Feature = Feature { leaf: 0x8000_0001, register: Register::Edx, bit: 11 };
pub(super) const LONG_MODE: Feature =
    Feature { leaf: 0x8000_0001, register: Register::Edx, bit: 29 };

impl Need {
    /// Whether a kernel needs it and cannot have it.
    pub(super) fn is_missing(self, offered: &CpuId) -> bool {
        matches!(self, Self::Always(feature) if !feature.is_in(offered))
    }

    /// Whether it is there.
    pub(super) fn is_met(self, offered: &CpuId) -> bool {
        match self {
            Self::Nothing => true,
            Self::Always(feature) | Self::IfOffered(feature) => feature.is_in(offered),
        }
    }
}

impl Feature {
    fn is_in(self, offered: &CpuId) -> bool {
        let Self { leaf, register, bit } = self;
        let mut entries = offered.as_slice().iter();
        entries.find(|e| e.function == leaf && e.index == 0).is_some_and(|entry| {
            let value = match register {
                Register::Ebx => entry.ebx,
                Register::Ecx => entry.ecx,
                Register::Edx => entry.edx,
            };
            value & 1 << bit != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::*;

    #[test]
    fn a_need_is_met_missing_or_neither() {
        let ebx = |index, ebx| kvm_cpuid_entry2 { function: 7, index, ebx, ..Default::default() };
        let check = |need: Need, entries: &[kvm_cpuid_entry2], missing, met| {
            let offered = CpuId::from_entries(entries).unwrap();
            assert_eq!((need.is_missing(&offered), need.is_met(&offered)), (missing, met));
        };
        check(Need::Nothing, &[], false, true);
        check(Need::Always(SMAP), &[], true, false);
        check(Need::Always(SMAP), &[ebx(0, !(1 << 20))], true, false);
        check(Need::Always(SMAP), &[ebx(1, 1 << 20)], true, false);
        check(Need::Always(SMAP), &[ebx(0, 1 << 20)], false, true);
        check(Need::IfOffered(SMAP), &[ebx(0, 0)], false, false);
        check(Need::IfOffered(SMAP), &[ebx(1, 0), ebx(0, 1 << 20)], false, true);
    }
}
