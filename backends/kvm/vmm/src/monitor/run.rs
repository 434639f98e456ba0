//! A built machine, and the requests to it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use microagent_vmm_protocol::{
    ControlError, ControlErrorKind, MonitorState, MonitorStats, Reply, Request, VcpuStats,
};

use super::ending::Ending;
use super::gate::Gate;
use super::io::Wake;
use super::state::{self, Change};
use crate::control::Control;
use crate::device_set::DeviceSet;
use crate::log::chain;
use crate::vcpu::{End, Exits, Kick, host_counter};
use crate::vm::{ExitCount, Vm};

/// How long threads may take to come to where they are held: a vCPU leaves KVM within
/// microseconds, a device may have to finish with a slow disk.
const HELD_WITHIN: Duration = Duration::from_secs(10);
/// How long devices may take for what the guest had given them before it ended.
const FINISHED_WITHIN: Duration = Duration::from_secs(2);

/// A machine whose threads wait at the gate.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) began: Instant,
    pub(crate) vm: Vm,
    pub(crate) devices: DeviceSet,
    pub(crate) vcpus: Vec<VcpuHandle>,
    pub(crate) io: Wake,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ending: Arc<Ending>,
    pub(crate) control: Control,
    /// Whether Landlock was seen to deny.
    pub(crate) landlock: bool,
}

/// What is known of a vCPU outside of its thread.
#[derive(Debug)]
pub(crate) struct VcpuHandle {
    pub(crate) kick: Kick,
    pub(crate) exits: Arc<Exits>,
    pub(crate) all_exits: Option<ExitCount>,
}

/// Why a machine cannot be served any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot wait for requests")]
    Wait(#[source] io::Error),
}

impl Machine {
    /// Answers requests until the machine ends.
    pub(crate) fn serve(self) -> Result<End, ServeError> {
        let Self { began, vm, devices, vcpus, io, gate, ending, mut control, landlock } = self;
        let threads = vcpus.len() + 1;
        let held = Held { vcpus: &vcpus, io: &io, gate: &gate, threads };
        let life = Life { state: MonitorState::Created, paused: None, start_us: None };
        let mut serving = Serving { began, vm, devices, held, life, landlock };
        loop {
            let answer = |request| serving.answer(request);
            control.serve(std::os::fd::AsFd::as_fd(&*ending), answer).map_err(ServeError::Wait)?;
            if let Some(end) = ending.end() {
                // What the guest gave its devices before its end belongs to what it did.
                serving.held.wait(FINISHED_WITHIN);
                return Ok(end);
            }
        }
    }
}

/// The threads, as far as they can be held.
struct Held<'m> {
    vcpus: &'m [VcpuHandle],
    io: &'m Wake,
    gate: &'m Gate,
    threads: usize,
}

impl Held<'_> {
    /// Makes all threads come to the gate, which is closed, and says whether they do.
    fn wait(&self, within: Duration) -> bool {
        for vcpu in self.vcpus {
            vcpu.kick.kick();
        }
        self.io.wake();
        self.gate.wait_for(self.threads, within)
    }
}

struct Life {
    state: MonitorState,
    /// The time at which it was paused, if it is.
    paused: Option<PausedAt>,
    start_us: Option<u64>,
}

/// When a machine was paused.
#[derive(Clone, Copy)]
struct PausedAt {
    /// By the machine's clock.
    clock: u64,
    /// By the host's time stamp counter.
    counter: u64,
}

struct Serving<'m> {
    began: Instant,
    vm: Vm,
    devices: DeviceSet,
    held: Held<'m>,
    life: Life,
    landlock: bool,
}

impl Serving<'_> {
    fn answer(&mut self, request: Request) -> Reply {
        let change = match request {
            Request::State { .. } => return self.state(),
            Request::Stats => return Reply::Stats(self.stats()),
            Request::Start => Change::Start,
            Request::Pause => Change::Pause,
            Request::Resume => Change::Resume,
        };
        match self.change(change) {
            Ok(()) => self.state(),
            Err(error) => Reply::Refused(error),
        }
    }

    fn state(&self) -> Reply {
        Reply::State { state: self.life.state, landlock: self.landlock }
    }

    fn change(&mut self, change: Change) -> Result<(), ControlError> {
        let state = state::after(self.life.state, change)?;
        match change {
            Change::Start => {
                self.life.start_us = u64::try_from(self.began.elapsed().as_micros()).ok();
                self.held.gate.open(0);
            }
            Change::Pause => self.pause()?,
            Change::Resume => self.resume()?,
        }
        self.life.state = state;
        Ok(())
    }

    fn pause(&mut self) -> Result<(), ControlError> {
        self.held.gate.close();
        let clock = match self.held.wait(HELD_WITHIN) {
            true => self.vm.clock().map_err(|e| io_error(chain(&e))),
            false => Err(io_error(format!("the machine did not stop within {HELD_WITHIN:?}"))),
        };
        match clock {
            Ok(clock) => self.life.paused = Some(PausedAt { clock, counter: host_counter() }),
            Err(error) => {
                self.held.gate.open(0);
                return Err(error);
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), ControlError> {
        let held = match self.life.paused {
            Some(PausedAt { clock, counter }) => {
                self.vm.set_clock(clock).map_err(|e| io_error(chain(&e)))?;
                host_counter().wrapping_sub(counter)
            }
            None => 0,
        };
        self.life.paused = None;
        self.held.gate.open(held);
        Ok(())
    }

    fn stats(&self) -> MonitorStats {
        use std::sync::atomic::Ordering::Relaxed;
        let vcpus = self.held.vcpus.iter().map(|vcpu| VcpuStats {
            exits: vcpu.all_exits.as_ref().and_then(ExitCount::read),
            io: vcpu.exits.io.load(Relaxed),
            mmio: vcpu.exits.mmio.load(Relaxed),
        });
        MonitorStats {
            vcpus: vcpus.collect(),
            devices: self.devices.stats(),
            start_us: self.life.start_us,
        }
    }
}

fn io_error(message: String) -> ControlError {
    ControlError { kind: ControlErrorKind::Io, message }
}
