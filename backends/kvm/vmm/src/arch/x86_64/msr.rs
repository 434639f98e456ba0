//! Model-specific registers that a firmware would have set.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// `IA32_MISC_ENABLE` (Intel SDM volume 4, table 2-2).
const MISC_ENABLE: u32 = 0x1a0;
/// Its bit for fast string operations.
const FAST_STRINGS: u64 = 1 << 0;
/// `IA32_MTRR_DEF_TYPE` (volume 3, 12.11.2.1).
const MTRR_DEFAULT: u32 = 0x2ff;
const MTRR_ENABLED: u64 = 1 << 11;
const WRITE_BACK: u64 = 6;

/// Why registers are not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MsrError {
    /// The ioctl.
    #[error("cannot {what} model-specific registers")]
    Ioctl {
        /// What was tried.
        what: &'static str,
        #[source]
        source: kvm_ioctls::Error,
    },
    /// KVM stops at the first that it does not take.
    #[error("KVM does not take model-specific register {0:#x}")]
    Refused(u32),
    /// As many as there are here always fit.
    #[error("too many model-specific registers")]
    TooMany,
}

/// The registers and their values, `misc_enable` being what KVM has in `IA32_MISC_ENABLE`.
///
/// All memory is write-back unless page tables say else, or Linux leaves page attributes
/// disabled.
fn boot_msrs(misc_enable: u64) -> [kvm_msr_entry; 2] {
    let entry = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    [entry(MISC_ENABLE, misc_enable | FAST_STRINGS), entry(MTRR_DEFAULT, MTRR_ENABLED | WRITE_BACK)]
}

/// Sets them; for every vCPU.
///
/// # Errors
/// KVM refuses; a processor without one of these registers runs no 64-bit kernel.
pub(crate) fn configure(vcpu: &VcpuFd) -> Result<(), MsrError> {
    let failed = |what| move |source| MsrError::Ioctl { what, source };
    let ask = [kvm_msr_entry { index: MISC_ENABLE, ..kvm_msr_entry::default() }];
    let mut seen = Msrs::from_entries(&ask).map_err(|_| MsrError::TooMany)?;
    let got = vcpu.get_msrs(&mut seen).map_err(failed("read"))?;
    let misc_enable = seen.as_slice().first().filter(|_| got == 1).map_or(0, |entry| entry.data);
    let wanted = boot_msrs(misc_enable);
    let msrs = Msrs::from_entries(&wanted).map_err(|_| MsrError::TooMany)?;
    let set = vcpu.set_msrs(&msrs).map_err(failed("set"))?;
    match wanted.get(set) {
        Some(entry) => Err(MsrError::Refused(entry.index)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_firmware_sets() {
        let got = boot_msrs(1 << 11).map(|entry| (entry.index, entry.data));
        assert_eq!(got, [(0x1a0, 1 << 11 | 1), (0x2ff, 0x806)]);
    }
}
