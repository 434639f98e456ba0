//! A backend that keeps to the contract but for one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use microagent_backend::{
    Backend, Capabilities, Error, ErrorKind, Lifetime, Machine, Result, RunDir,
};
use microagent_fake::FakeBackend;
use microagent_machine::{Feature, MachineSpec};

use crate::machine::MutantMachine;

/// What a backend does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None: what shows that it is the fault that is caught.
    None,
    ProbeChanges,
    IgnoresAWish,
    DeclaresADeviceItLacks,
    DeclaresAPartItLacks,
    DeclaresALimitItLacks,
    PromisesIsolation,
    RefusesWithoutNumbers,
    LeavesFilesOnError,
    OpensAreIoErrors,
    AttachedIsDetached,
    ForgetsWhatToRemove,
    HandleKillsWhenDropped,
    StartIsAlwaysOk,
    PauseDoesNothing,
    PauseOnlySaysSo,
    ResumeDoesNothing,
    KillDoesNothing,
    DestroyLeavesFiles,
    DestroyLeavesProcesses,
    WaitIsLate,
    CrashLooksLikeKill,
    PanicLooksLikeReset,
}

/// The fake backend with a fault.
pub(crate) struct Mutant {
    inner: Arc<FakeBackend>,
    fault: Fault,
    probes: AtomicU32,
}

impl Mutant {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { inner: Arc::new(FakeBackend::new()), fault, probes: AtomicU32::new(0) }
    }

    fn wrap(&self, inner: Box<dyn Machine>, dir: &RunDir) -> Box<dyn Machine> {
        Box::new(MutantMachine::new(inner, self.fault, dir.clone()))
    }
}

#[async_trait]
impl Backend for Mutant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn probe(&self) -> Result<Capabilities> {
        let mut caps = self.inner.probe().await?;
        match self.fault {
            Fault::ProbeChanges => {
                caps.version = self.probes.fetch_add(1, Ordering::Relaxed).to_string();
            }
            Fault::DeclaresADeviceItLacks => _ = caps.features.insert(Feature::Rng),
            Fault::DeclaresALimitItLacks => caps.limits.disks += 1,
            Fault::PromisesIsolation => caps.isolation.seccomp = true,
            _ => (),
        }
        Ok(caps)
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let mut spec = spec.clone();
        if self.fault == Fault::IgnoresAWish {
            spec.rng = false;
        }
        let lifetime = match (self.fault, lifetime) {
            (Fault::AttachedIsDetached, Lifetime::Attached { .. }) => Lifetime::Detached,
            (Fault::ForgetsWhatToRemove, Lifetime::Attached { pipe, .. }) => {
                Lifetime::Attached { pipe, remove: Vec::new() }
            }
            (_, lifetime) => lifetime,
        };
        match self.inner.create(&spec, dir, lifetime).await {
            Ok(machine) => Ok(self.wrap(machine, dir)),
            Err(error) if self.fault == Fault::RefusesWithoutNumbers => {
                Err(Error { message: "too many".into(), ..error })
            }
            Err(error) => {
                if self.fault == Fault::LeavesFilesOnError {
                    let _ = std::fs::write(dir.file("half-built"), "");
                }
                Err(error)
            }
        }
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        match self.inner.open(dir).await {
            Ok(machine) => Ok(self.wrap(machine, dir)),
            Err(error) if self.fault == Fault::OpensAreIoErrors => {
                Err(Error { kind: ErrorKind::Io, ..error })
            }
            Err(error) => Err(error),
        }
    }
}
