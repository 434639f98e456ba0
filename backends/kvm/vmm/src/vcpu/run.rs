//! The thread of a vCPU.

use std::sync::Arc;

use kvm_ioctls::VcpuFd;

use super::VcpuError;
use super::clock::Time;
use super::exit::{self, Buses, End, Exits, Next};
use super::kick::Kick;
use super::run_page::RunPage;
use crate::monitor::Gate;

/// A vCPU that is set up.
#[derive(Debug)]
pub(crate) struct Vcpu {
    fd: VcpuFd,
    page: Arc<RunPage>,
    kick: Kick,
    exits: Arc<Exits>,
}

impl Vcpu {
    /// Takes a vCPU that is ready to run.
    pub(crate) fn new(fd: VcpuFd) -> Result<Self, VcpuError> {
        let page = Arc::new(RunPage::of(&fd).map_err(VcpuError::Map)?);
        let kick = Kick::new(Arc::clone(&page));
        Ok(Self { fd, page, kick, exits: Arc::default() })
    }

    /// What gets it out of KVM.
    pub(crate) fn kick(&self) -> Kick {
        self.kick.clone()
    }

    /// What it counts.
    pub(crate) fn exits(&self) -> Arc<Exits> {
        Arc::clone(&self.exits)
    }

    /// Runs in this thread until the machine ends, held wherever `gate` is closed and it was
    /// kicked.
    pub(crate) fn run(mut self, gate: &Gate, buses: &Buses) -> End {
        self.kick.is_for_this_thread();
        gate.pass();
        loop {
            match exit::run_once(&mut self.fd, &self.page, buses, &self.exits) {
                Next::Run => {}
                Next::Look => self.look(gate),
                Next::End(end) => return end,
            }
        }
    }

    fn look(&self, gate: &Gate) {
        self.kick.is_noticed();
        if gate.is_closed() {
            let time = Time::of(&self.fd);
            let held = gate.pass();
            if let Some(time) = time {
                time.restore(&self.fd, held);
            }
        }
    }
}
