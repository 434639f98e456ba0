//! A supervisor that cannot be connected to although everything is there that it takes.

use async_trait::async_trait;
use microagent_backend::{
    Backend, Capabilities, Error, ErrorKind, Lifetime, Machine, Result, RunDir,
};
use microagent_machine::MachineSpec;

/// Meets every operation with what connecting met, so that the cases judge it instead of being
/// skipped.
pub(crate) struct Unconnected {
    kind: ErrorKind,
    message: String,
}

impl Unconnected {
    pub(crate) fn new(error: &Error) -> Self {
        Self { kind: error.kind, message: error.to_string() }
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

#[async_trait]
impl Backend for Unconnected {
    fn name(&self) -> &str {
        "unconnected"
    }

    async fn probe(&self) -> Result<Capabilities> {
        Err(self.error())
    }

    async fn create(&self, _: &MachineSpec, _: &RunDir, _: Lifetime) -> Result<Box<dyn Machine>> {
        Err(self.error())
    }

    async fn open(&self, _: &RunDir) -> Result<Box<dyn Machine>> {
        Err(self.error())
    }
}
