//! A vCPU's time stamp counter, which stands still while the vCPU is held.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// `IA32_TIME_STAMP_COUNTER` (Intel SDM, volume 4, table 2-2).
const TSC: u32 = 0x10;
/// `IA32_TSC_DEADLINE`: at which count the timer of the local APIC fires, or zero.
const TSC_DEADLINE: u32 = 0x6e0;

/// A vCPU's time at the moment that it was held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    counter: u64,
    deadline: u64,
}

impl Time {
    /// Reads it; none where KVM does not tell.
    pub(crate) fn of(vcpu: &VcpuFd) -> Option<Self> {
        let entries =
            [TSC, TSC_DEADLINE].map(|index| kvm_msr_entry { index, ..Default::default() });
        let mut msrs = Msrs::from_entries(&entries).ok()?;
        match (vcpu.get_msrs(&mut msrs), msrs.as_slice()) {
            (Ok(2), [counter, deadline]) => {
                Some(Self { counter: counter.data, deadline: deadline.data })
            }
            _ => None,
        }
    }

    /// Goes on from it.
    pub(crate) fn restore(self, vcpu: &VcpuFd) {
        // The counter first: what a deadline means depends on it. Zero would disarm a timer
        // that is not armed.
        let entries = [(TSC, self.counter), (TSC_DEADLINE, self.deadline)];
        let entries =
            entries.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
        let entries = if self.deadline == 0 { &entries[..1] } else { &entries[..] };
        let restored = Msrs::from_entries(entries).ok().and_then(|msrs| vcpu.set_msrs(&msrs).ok());
        if restored != Some(entries.len()) {
            tracing::warn!("a vCPU's clock jumped over a pause");
        }
        // Fails where the guest does not use KVM's clock: then nobody wonders either.
        let _ = vcpu.kvmclock_ctrl();
    }
}
