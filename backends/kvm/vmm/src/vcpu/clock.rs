//! A vCPU's time stamp counter, which stands still while the vCPU is held.
//!
//! Where KVM tells by how much it differs from the host's, that is changed, by the same for all
//! vCPUs of a machine, so that they stay as close to each other as they were. Older kernels
//! only take a value, and guess from it what is meant (they ignore one that is off by less
//! than a second).
#![allow(unsafe_code)] // requests without a wrapper, and the counter itself

use std::arch::x86_64::_rdtsc;
use std::os::fd::AsRawFd;

use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// `KVM_GET_DEVICE_ATTR`: `_IOW(KVMIO, 0xe2, struct kvm_device_attr)`.
const KVM_GET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee2;
/// `KVM_SET_DEVICE_ATTR`: `_IOW(KVMIO, 0xe1, struct kvm_device_attr)`.
const KVM_SET_DEVICE_ATTR: libc::c_ulong = 0x4018_aee1;

/// `IA32_TIME_STAMP_COUNTER` (Intel SDM, volume 4, table 2-2).
const TSC: u32 = 0x10;
/// `IA32_TSC_DEADLINE`: at which count the timer of the local APIC fires, or zero.
const TSC_DEADLINE: u32 = 0x6e0;

/// After a shorter pause it is not looked whether the counter stood still, in its steps, half
/// a second or less: on a slow host the look itself can take that long.
const SHORT: u64 = 1 << 30;

/// The host's counter now.
pub(crate) fn host_counter() -> u64 {
    // SAFETY: every processor of this architecture has it, and no system that runs this
    // forbids it.
    unsafe { _rdtsc() }
}

/// A vCPU's time at the moment that it was held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    counter: u64,
    deadline: u64,
    /// What is added to the host's counter, where KVM tells.
    offset: Option<u64>,
}

impl Time {
    /// Reads it; none where KVM does not tell.
    pub(crate) fn of(vcpu: &VcpuFd) -> Option<Self> {
        let entries = [TSC, TSC_DEADLINE].map(|index| entry(index, 0));
        let mut msrs = Msrs::from_entries(&entries).ok()?;
        match (vcpu.get_msrs(&mut msrs), msrs.as_slice()) {
            (Ok(2), [counter, deadline]) => {
                Some(Self { counter: counter.data, deadline: deadline.data, offset: offset(vcpu) })
            }
            _ => None,
        }
    }

    /// Goes on from it, after the host's counter has counted `held` while nobody ran.
    pub(crate) fn restore(self, vcpu: &VcpuFd, held: u64) {
        let moved = self.offset.is_some_and(|at| set_offset(vcpu, at.wrapping_sub(held)));
        let entries = [entry(TSC, self.counter), entry(TSC_DEADLINE, self.deadline)];
        // What a deadline means depends on the counter, so it comes after that. Zero would
        // disarm a timer that is not armed.
        let from = usize::from(moved);
        let to = if self.deadline == 0 { 1 } else { 2 };
        if let Ok(msrs) = Msrs::from_entries(&entries[from..to])
            && from < to
        {
            // Whether it was of use is seen by what the counter says.
            let _ = vcpu.set_msrs(&msrs);
        }
        // Fails where the guest does not use KVM's clock: then nobody wonders either.
        let _ = vcpu.kvmclock_ctrl();
        if held > SHORT {
            let seen = Self::of(vcpu).map(|now| now.counter.wrapping_sub(self.counter));
            if seen.is_none_or(|seen| seen > held / 2) {
                tracing::warn!("a vCPU's time stamp counter went on during a pause");
            }
        }
    }
}

fn entry(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry { index, data, ..kvm_msr_entry::default() }
}

fn offset(vcpu: &VcpuFd) -> Option<u64> {
    let mut value = 0;
    attribute(vcpu, KVM_GET_DEVICE_ATTR, &mut value).then_some(value)
}

fn set_offset(vcpu: &VcpuFd, mut value: u64) -> bool {
    attribute(vcpu, KVM_SET_DEVICE_ATTR, &mut value)
}

/// `KVM_VCPU_TSC_OFFSET` (`Documentation/virt/kvm/devices/vcpu.rst`, section 4.1), of Linux
/// 5.16 and later.
fn attribute(vcpu: &VcpuFd, request: libc::c_ulong, value: &mut u64) -> bool {
    let attribute = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr: std::ptr::from_mut(value) as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, and reads or writes the eight bytes that it
    // names; both live until after the call.
    unsafe { libc::ioctl(vcpu.as_raw_fd(), request, &raw const attribute) == 0 }
}
