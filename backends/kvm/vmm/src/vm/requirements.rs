//! What this host's KVM must be able to do.

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::{Cap, Kvm};

/// Why this host's KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    /// Not the interface that has been stable since Linux 2.6.22.
    #[error("KVM has version {0}, expected {KVM_API_VERSION}")]
    Version(i32),
    /// A capability is missing.
    #[error("KVM lacks {0}, use a host with Linux 5.10 or later on x86-64")]
    Missing(&'static str),
    /// Too many vCPUs.
    #[error("{wanted} vCPUs were asked for, KVM allows {most} here")]
    Vcpus {
        /// How many were asked for.
        wanted: u8,
        /// How many there can be.
        most: usize,
    },
}

/// By their names in KVM's documentation.
const NEEDED: [(Cap, &str); 13] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::SetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::AdjustClock, "KVM_CAP_ADJUST_CLOCK"),
    (Cap::InternalErrorData, "KVM_CAP_INTERNAL_ERROR_DATA"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::TscDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

pub(crate) fn check(kvm: &Kvm, vcpus: u8) -> Result<(), RequirementError> {
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        return Err(RequirementError::Version(version));
    }
    if let Some((_, name)) = NEEDED.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
        return Err(RequirementError::Missing(name));
    }
    let most = kvm.get_max_vcpus();
    if usize::from(vcpus) > most {
        return Err(RequirementError::Vcpus { wanted: vcpus, most });
    }
    Ok(())
}
