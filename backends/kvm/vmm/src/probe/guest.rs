//! A guest of one processor that takes the steps, and how far it came.
#![allow(unsafe_code)] // guest memory is handed to KVM by its address

use std::io;
use std::time::{Duration, Instant};

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::alarm;
use super::image::{
    self, DONE_PORT, EXCEPTION_PORT, GDT, IDT, KERNEL_DATA, PROGRAM, PROTECTED_CODE, SIZE, STACK,
    STEP_PORT, TASK, TICKS, TSS, WRONG_PORT,
};
use super::steps::{ROUNDS, Step};
use super::verdict::{Ended, Failure};

/// The version of its interface that KVM has had since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Why no guest could be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestError {
    #[error("there is no /dev/kvm: load the modules of KVM, or enable virtualisation")]
    Missing,
    #[error("/dev/kvm may not be opened by this user: it takes membership in its group")]
    Permission,
    #[error("/dev/kvm cannot be opened")]
    Open(#[source] io::Error),
    #[error("KVM has version {0} of its interface, expected {API_VERSION}")]
    Version(i32),
    #[error("KVM refused to {what}")]
    Kvm { what: &'static str, source: kvm_ioctls::Error },
    #[error("KVM cannot enter a guest: hardware reason {0:#x}")]
    Entry(u64),
    #[error("cannot make the guest's memory")]
    Memory(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot bound the time of a guest")]
    Alarm(#[source] io::Error),
}

/// Opens `/dev/kvm`.
pub(super) fn open() -> Result<Kvm, GuestError> {
    let kvm = Kvm::new().map_err(|e| match e.errno() {
        libc::ENOENT => GuestError::Missing,
        libc::EACCES | libc::EPERM => GuestError::Permission,
        _ => GuestError::Open(e.into()),
    })?;
    match kvm.get_api_version() {
        API_VERSION => Ok(kvm),
        other => Err(GuestError::Version(other)),
    }
}

/// What KVM offers to guests.
pub(super) fn offered(kvm: &Kvm) -> Result<CpuId, GuestError> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("say what it offers to guests"))
}

/// A guest before its first instruction.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    steps: &'a [Step],
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: GuestMemoryMmap,
}

impl<'a> Guest<'a> {
    /// Makes a guest that will take `steps`, on a processor with all that is `offered`.
    pub(super) fn new(kvm: &Kvm, offered: &CpuId, steps: &'a [Step]) -> Result<Self, GuestError> {
        let vm = kvm.create_vm().map_err(refused("create a machine"))?;
        let memory = memory(&vm, steps)?;
        let vcpu = vm.create_vcpu(0).map_err(refused("create a processor"))?;
        vcpu.set_cpuid2(offered).map_err(refused("offer all that it offers"))?;
        let mut sregs = vcpu.get_sregs().map_err(refused("show a processor's registers"))?;
        in_protected_mode(&mut sregs);
        vcpu.set_sregs(&sregs).map_err(refused("set a processor's mode"))?;
        // Bit 1 of RFLAGS is always set.
        let regs = kvm_regs { rip: PROGRAM, rsp: STACK, rflags: 2, ..Default::default() };
        vcpu.set_regs(&regs).map_err(refused("set a processor's registers"))?;
        Ok(Self { steps, vcpu, _vm: vm, memory })
    }

    /// Runs it for at most `limit`: how it ended, and the ticks of its loop if it got past it.
    pub(super) fn run(mut self, limit: Duration) -> Result<(Ended, Option<u64>), GuestError> {
        alarm::interrupt_after(limit).map_err(GuestError::Alarm)?;
        let end = Instant::now() + limit;
        let mut at = "its first instruction";
        let ended = loop {
            match self.next(end)? {
                Next::Step(number) => at = self.steps.get(number).map_or(at, |step| step.name),
                Next::Interrupted => {}
                Next::Done => break Ended::AfterAll,
                Next::Failed(how) => break Ended::At { step: at, how },
            }
        };
        Ok((ended, self.ticks()?))
    }

    /// Enters the guest until it says something.
    fn next(&mut self, end: Instant) -> Result<Next, GuestError> {
        let exit = match self.vcpu.run() {
            Ok(exit) => exit,
            Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => VcpuExit::Intr,
            Err(source) => return Err(GuestError::Kvm { what: "run a guest", source }),
        };
        Ok(match exit {
            VcpuExit::Intr if Instant::now() < end => Next::Interrupted,
            VcpuExit::Intr => Next::Failed(Failure::Hung),
            VcpuExit::IoOut(port, &[value]) => said(port, value),
            VcpuExit::InternalError => Next::Failed(Failure::Refused(self.suberror())),
            VcpuExit::Shutdown => Next::Failed(Failure::ShutDown),
            VcpuExit::FailEntry(reason, _) => return Err(GuestError::Entry(reason)),
            other => Next::Failed(Failure::Astray(format!("{other:?}"))),
        })
    }

    fn suberror(&mut self) -> u32 {
        // SAFETY: the exit reason was KVM_EXIT_INTERNAL_ERROR, so this is the member in use.
        unsafe { self.vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror }
    }

    fn ticks(&self) -> Result<Option<u64>, GuestError> {
        let rounds: [u64; ROUNDS] = self
            .memory
            .read_obj(GuestAddress(TICKS.into()))
            .map_err(|e| GuestError::Memory(e.into()))?;
        // Each is zero until it was timed.
        Ok(rounds.into_iter().min().filter(|least| *least > 0))
    }
}

/// What came next.
enum Next {
    Step(usize),
    Interrupted,
    Done,
    Failed(Failure),
}

fn said(port: u16, value: u8) -> Next {
    match u8::try_from(port) {
        Ok(STEP_PORT) => Next::Step(value.into()),
        Ok(DONE_PORT) => Next::Done,
        Ok(EXCEPTION_PORT) => Next::Failed(Failure::Exception(value)),
        Ok(WRONG_PORT) => Next::Failed(Failure::Wrong),
        _ => Next::Failed(Failure::Astray(format!("it wrote to port {port:#x}"))),
    }
}

fn memory(vm: &VmFd, steps: &[Step]) -> Result<GuestMemoryMmap, GuestError> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| GuestError::Memory(e);
    let memory =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).map_err(|e| failed(e.into()))?;
    let pieces = image::pieces(steps).ok_or_else(|| failed("the steps are too long".into()))?;
    for (address, bytes) in pieces {
        memory.write_slice(&bytes, GuestAddress(address)).map_err(|e| failed(e.into()))?;
    }
    let host = memory.get_host_address(GuestAddress(0)).map_err(|e| failed(e.into()))?;
    let region = kvm_userspace_memory_region {
        memory_size: SIZE as u64,
        userspace_addr: host.addr() as u64,
        ..Default::default()
    };
    // SAFETY: the region is mapped from that address on for as long as the caller keeps the
    // memory, beside the machine.
    unsafe { vm.set_user_memory_region(region) }.map_err(refused("take the guest's memory"))?;
    Ok(memory)
}

/// As at a PVH entry, with the tables of long mode in place already.
fn in_protected_mode(sregs: &mut kvm_sregs) {
    // Intel SDM volume 3A, 2.5: PE, MP, ET and NE.
    const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5;
    let flat = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let data = flat(KERNEL_DATA, 0x3);
    sregs.cs = flat(PROTECTED_CODE, 0xb);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        base: TSS,
        limit: 0x67,
        selector: TASK,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    sregs.gdt = kvm_dtable { base: GDT, limit: 9 * 8 - 1, padding: [0; 3] };
    sregs.idt = kvm_dtable { base: IDT, limit: 32 * 16 - 1, padding: [0; 3] };
    sregs.cr0 = CR0;
    (sregs.cr3, sregs.cr4, sregs.efer) = (0, 0, 0);
}

fn refused(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> GuestError {
    move |source| GuestError::Kvm { what, source }
}
