//! A virtual machine of KVM's: memory, interrupt controllers, clock; no vCPU runs here.
#![allow(unsafe_code)] // memory is given to the guest by its address

mod clock;
mod memory;
mod requirements;
mod statistics;

use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::{errno, eventfd};

use crate::arch::layout;

pub(crate) use self::memory::{MemoryError, map as map_memory};
pub(crate) use self::requirements::RequirementError;
pub(crate) use self::statistics::ExitCount;

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VmError {
    /// This host's KVM is not what is needed.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// There is no memory for the guest.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// KVM refused.
    #[error("KVM refuses {what}")]
    Kvm {
        /// What.
        what: &'static str,
        /// Why.
        source: errno::Error,
    },
    /// There is no event to tell something by.
    #[error("cannot make an event")]
    Event(#[source] io::Error),
}

/// A virtual machine.
#[derive(Debug)]
pub(crate) struct Vm {
    kvm: Kvm,
    fd: VmFd,
    memory: GuestMemoryMmap,
}

impl Vm {
    /// Makes a machine with this memory and interrupt controllers, on KVM's device.
    pub(crate) fn new(kvm: File, memory: GuestMemoryMmap, vcpus: u8) -> Result<Self, VmError> {
        // SAFETY: the descriptor was owned by `kvm` and is handed over.
        let kvm = unsafe { <Kvm as std::os::fd::FromRawFd>::from_raw_fd(kvm.into_raw_fd()) };
        requirements::check(&kvm, vcpus)?;
        let fd = kvm.create_vm().map_err(refused("a virtual machine"))?;
        fd.set_tss_address(layout::KVM_TSS as usize)
            .map_err(refused("a place for its task state"))?;
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(refused("a place for its identity map"))?;
        for (slot, region) in memory.iter().enumerate() {
            give_memory(&fd, slot, region).map_err(refused("the guest's memory"))?;
        }
        // Before the first vCPU, which gets its local APIC from it.
        fd.create_irq_chip().map_err(refused("interrupt controllers"))?;
        Ok(Self { kvm, fd, memory })
    }

    /// The guest's memory.
    pub(crate) fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// What CPUID can say in this machine.
    pub(crate) fn supported_cpuid(&self) -> Result<CpuId, VmError> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(refused("to describe processors"))
    }

    /// Makes a vCPU that has not been set up.
    pub(crate) fn create_vcpu(&self, index: u8) -> Result<VcpuFd, VmError> {
        self.fd.create_vcpu(index.into()).map_err(refused("a vCPU"))
    }

    /// An event that raises interrupt line `gsi` when it is written to.
    pub(crate) fn interrupt(&self, gsi: u32) -> Result<EventFd, VmError> {
        let event = event()?;
        self.fd.register_irqfd(&event, gsi).map_err(refused("an interrupt by an event"))?;
        Ok(event)
    }

    /// An event that is written to when the guest writes `value` (4 bytes) to `address`.
    pub(crate) fn notification(&self, address: u64, value: u32) -> Result<EventFd, VmError> {
        let event = event()?;
        self.fd
            .register_ioevent(&event, &IoEventAddress::Mmio(address), value)
            .map_err(refused("an event for a write to a device"))?;
        Ok(event)
    }
}

/// An event that nobody waits for when reading.
fn event() -> Result<EventFd, VmError> {
    EventFd::new(eventfd::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(VmError::Event)
}

fn give_memory(fd: &VmFd, slot: usize, region: &GuestRegionMmap) -> Result<(), errno::Error> {
    let region = kvm_userspace_memory_region {
        slot: u32::try_from(slot).map_err(|_| errno::Error::new(libc::EINVAL))?,
        flags: 0,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the mapping is `memory_size` long, is used for nothing but this guest's memory,
    // and is never unmapped (see `memory::map`); regions do not overlap.
    unsafe { fd.set_user_memory_region(region) }
}

fn refused(what: &'static str) -> impl Fn(errno::Error) -> VmError {
    move |source| VmError::Kvm { what, source }
}
