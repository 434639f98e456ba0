//! From a specification to a machine that only has to be started.

use std::io;
use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use microagent_vmm_protocol::{MAX_MEMORY_MIB, MAX_VCPUS, MonitorSpec};
use vm_memory::GuestMemoryMmap;

use super::files::{FileError, Files};
use super::run::{Machine, VcpuHandle};
use super::{Ending, Gate, IoThread};
use crate::arch::x86_64::{cpuid, lapic, msr, regs};
use crate::boot::{self, BootError, BootRequest, Copied, Entry, Images};
use crate::confine::{self, ConfineError, Landlocked};
use crate::control::Control;
use crate::device_set::{DeviceSet, DeviceSetError, HostEnds};
use crate::filters::Class;
use crate::log::chain;
use crate::vcpu::{Buses, End, Vcpu, VcpuError, prepare_to_be_kicked};
use crate::vm::{ExitCount, Vm, VmError, map_memory};

/// How long threads may take to be confined and to wait for the start.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// What a thread's stack may grow to: a batch of requests and what becomes of them. Only what
/// is used of it takes memory.
const STACK: usize = 512 << 10;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{field} of the specification is {value}, expected {min} to {max}")]
    Field { field: &'static str, value: u32, min: u32, max: u32 },
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Devices(#[from] DeviceSetError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Vcpu(#[from] VcpuError),
    #[error("cannot set up vCPU {index}")]
    SetUp {
        index: u8,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot make {0}")]
    System(&'static str, #[source] io::Error),
    #[error("the threads of the machine were not ready within {READY_WITHIN:?}")]
    NotReady,
    /// A thread's own words.
    #[error("{0}")]
    Thread(String),
}

/// Builds the machine, its threads confined and waiting; this one is confined last.
pub(crate) fn build(began: Instant) -> Result<Machine, BuildError> {
    let (spec, files) = Files::open()?;
    check(&spec)?;
    let Landlocked(landlock) = confine::before_building(&spec, &files)?;
    let Files { kvm, mut kernel, mut initramfs, disks, console, control, vsock, net } = files;
    let memory = map_memory(spec.memory_mib).map_err(VmError::from)?;
    let gate = Arc::new(Gate::default());
    let ending = Ending::new(Arc::clone(&gate)).map_err(|e| BuildError::System("an event", e))?;
    let threads = Threads { gate, ending: Arc::new(ending) };
    let mut io = IoThread::new().map_err(|e| BuildError::System("the thread of devices", e))?;
    let ends = HostEnds { disks, console, vsock: vsock.into(), net };
    let images = Images { kernel: &mut kernel, image: spec.image, initramfs: &mut initramfs };
    let (copied, (vm, devices, buses)) = copy_while(&memory, images, || {
        let vm = Vm::new(kvm, memory.clone(), spec.vcpus)?;
        let (devices, buses) = DeviceSet::new(&spec, ends, &vm, &mut io)?;
        Ok((vm, devices, buses))
    })?;
    let request = &BootRequest {
        cmdline: &spec.cmdline,
        announcement: spec.announcement,
        vcpus: spec.vcpus,
        devices: &devices.slots(),
    };
    let entry = boot::tell(&memory, copied, request)?;
    let wake = io.wake();
    let vcpus = create_vcpus(&vm, &spec, &entry)?;
    let vcpus = threads.start(io, vcpus, buses)?;
    let control = Control::new(control).map_err(|e| BuildError::System("the control socket", e))?;
    let Threads { gate, ending } = threads;
    confine::this_thread(Class::Monitor)?;
    Ok(Machine { began, vm, devices, vcpus, io: wake, gate, ending, control, landlock })
}

/// Copies what is booted while `assemble` makes the machine: each is half of the work, neither
/// waits for the other, and the thread is gone before any is confined.
fn copy_while<T>(
    memory: &GuestMemoryMmap,
    images: Images<'_>,
    assemble: impl FnOnce() -> Result<T, BuildError>,
) -> Result<(Copied, T), BuildError> {
    thread::scope(|scope| {
        let copying = thread::Builder::new().spawn_scoped(scope, || boot::copy(memory, images));
        let copying = copying.map_err(|e| BuildError::System("a thread", e))?;
        let assembled = assemble();
        let copied = copying.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok((copied?, assembled?))
    })
}

fn check(spec: &MonitorSpec) -> Result<(), BuildError> {
    let range = |field, value, max| match value {
        1.. if value <= max => Ok(()),
        _ => Err(BuildError::Field { field, value, min: 1, max }),
    };
    range("vcpus", spec.vcpus.into(), MAX_VCPUS.into())?;
    range("memory_mib", spec.memory_mib, MAX_MEMORY_MIB)
}

fn create_vcpus(
    vm: &Vm,
    spec: &MonitorSpec,
    entry: &Entry,
) -> Result<Vec<(Vcpu, VcpuHandle)>, BuildError> {
    prepare_to_be_kicked()?;
    let supported = vm.supported_cpuid()?;
    let create = |index| {
        let fd = vm.create_vcpu(index)?;
        let set_up = |index| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let tsc_khz = fd.get_tsc_khz().unwrap_or(0);
            fd.set_cpuid2(&cpuid::configure(supported.clone(), index, spec.vcpus, tsc_khz)?)?;
            msr::configure(&fd)?;
            lapic::configure(&fd)?;
            // The others wait for the first to start them.
            if index == 0 {
                regs::configure(&fd, vm.memory(), entry)?;
            }
            Ok(())
        };
        set_up(index).map_err(|source| BuildError::SetUp { index, source })?;
        let all_exits = ExitCount::of(&fd);
        let vcpu = Vcpu::new(fd)?;
        let handle = VcpuHandle { kick: vcpu.kick(), exits: vcpu.exits(), all_exits };
        Ok((vcpu, handle))
    };
    (0..spec.vcpus).map(create).collect()
}

/// What the threads of a machine share.
struct Threads {
    gate: Arc<Gate>,
    ending: Arc<Ending>,
}

impl Threads {
    /// Starts all threads, and waits until they wait.
    fn start(
        &self,
        io: IoThread,
        vcpus: Vec<(Vcpu, VcpuHandle)>,
        buses: Buses,
    ) -> Result<Vec<VcpuHandle>, BuildError> {
        let (gate, ending) = (Arc::clone(&self.gate), Arc::clone(&self.ending));
        self.spawn("io".into(), Class::Io, move || {
            End::Failed(format!("cannot wait for devices: {}", io.run(&gate, &ending)))
        })?;
        let buses = Arc::new(buses);
        let mut handles = Vec::with_capacity(vcpus.len());
        for (index, (vcpu, handle)) in vcpus.into_iter().enumerate() {
            let (gate, buses) = (Arc::clone(&self.gate), Arc::clone(&buses));
            self.spawn(format!("vcpu{index}"), Class::Vcpu, move || {
                match vcpu.run(&gate, &buses) {
                    End::Failed(why) => End::Failed(format!("vCPU {index}: {why}")),
                    end => end,
                }
            })?;
            handles.push(handle);
        }
        let ready = self.gate.wait_for(handles.len() + 1, READY_WITHIN);
        match self.ending.end() {
            Some(End::Failed(why)) => Err(BuildError::Thread(why)),
            Some(_) | None if !ready => Err(BuildError::NotReady),
            Some(_) | None => Ok(handles),
        }
    }

    /// Starts a thread whose end is the machine's.
    fn spawn(
        &self,
        name: String,
        class: Class,
        run: impl FnOnce() -> End + Send + 'static,
    ) -> Result<(), BuildError> {
        let (gate, ending) = (Arc::clone(&self.gate), Arc::clone(&self.ending));
        let body = move || {
            let end = match confine::this_thread(class) {
                Ok(()) => run(),
                Err(error) => End::Failed(chain(&error)),
            };
            ending.report(end);
            // For good: a thread that is gone could not be seen to be held.
            gate.pass();
        };
        let spawned = thread::Builder::new().name(name).stack_size(STACK).spawn(body);
        spawned.map(drop).map_err(|e| BuildError::System("a thread", e))
    }
}
