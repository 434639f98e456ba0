//! A supervisor executable whose guests are processes of this host: machines of the fake
//! backend, in each the real guest agent, which runs commands as its children.
//!
//! What it is for: everything above the contract, at the speed of processes. A guest shares the
//! host's files, users and network, so nothing may run in it that a test would not run itself;
//! a command that outlives a killed agent must end by itself (`setpriv --pdeathsig KILL`).
//!
//! Without arguments it answers one request of the supervisor protocol; with the run directory
//! of a machine as its argument it is the guest of that machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use microagent_backend::{
    Backend, Capabilities, Error, ErrorKind, Lifetime, Limits, Machine, Result, RunDir,
};
use microagent_fake::FakeBackend;
use microagent_machine::{Feature, MachineSpec};
use microagent_plugin::serve;

/// Most vCPUs of a machine, which has none.
const MAX_VCPUS: u32 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match env::args_os().nth(1) {
        None => serve(&Hosted(FakeBackend::new())).await,
        Some(_) => guest::run(),
    }
}

/// The fake backend with an agent in each guest.
struct Hosted(FakeBackend);

#[async_trait]
impl Backend for Hosted {
    fn name(&self) -> &str {
        "hosted"
    }

    async fn probe(&self) -> Result<Capabilities> {
        let mut found = self.0.probe().await?;
        found.backend = self.name().into();
        found.features.extend([Feature::Vsock, Feature::Rng, Feature::MultipleVcpus]);
        found.limits = Limits { vcpus: MAX_VCPUS, ..found.limits };
        Ok(found)
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        dir: &RunDir,
        lifetime: Lifetime,
    ) -> Result<Box<dyn Machine>> {
        let mut spec = MachineSpec { vcpus: 1, vsock: None, rng: false, ..spec.clone() };
        let no_boot = || Error::new(ErrorKind::Usage, "the machine has no kernel to boot");
        let boot = spec.boot.as_mut().ok_or_else(no_boot)?;
        let io = |e| Error::io("make a guest of the host", e);
        // Whoever asked may remove its own once the machine is there.
        let kept = dir.file(guest::INITRAMFS);
        fs::copy(&boot.initramfs, &kept).map_err(io)?;
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).map_err(io)?;
        boot.cmdline = format!("fake.run={}", env::current_exe().map_err(io)?.display());
        self.0.create(&spec, dir, lifetime).await
    }

    async fn open(&self, dir: &RunDir) -> Result<Box<dyn Machine>> {
        self.0.open(dir).await
    }
}
