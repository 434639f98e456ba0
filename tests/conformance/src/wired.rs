//! The list of backends.

use std::path::Path;
use std::sync::Arc;

use microagent_backend::Backend;
use microagent_conformance::{Context, Guests};
use microagent_fake::FakeBackend;

use crate::{FakeGuests, cloud_hypervisor, kvm, qemu};

/// A backend with the guests that it can run.
#[derive(Clone)]
pub struct Wired {
    /// Its name in test names: letters, digits and `_`.
    pub name: &'static str,
    /// What `CONFORMANCE_REQUIRE` calls it.
    pub required_as: &'static str,
    /// What is missing where it cannot be had.
    pub lacks: Lacks,
    /// The backend, or why it cannot be had here.
    pub backend: Result<Arc<dyn Backend>, String>,
    pub(crate) guests: Arc<dyn Guests>,
    pub(crate) device_guests: Result<Arc<dyn Guests>, String>,
}

/// What is missing where a backend cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// Something that can be installed, and that a word `all` requires.
    Tool,
    /// Something that the host has or has not; required by name only.
    Hardware,
}

/// Every backend that there is.
pub fn wired() -> Vec<Wired> {
    let mut all = vec![Wired::fake(Arc::new(FakeBackend::new()))];
    all.extend(kvm::wired());
    all.push(cloud_hypervisor::wired());
    all.extend(qemu::wired());
    all
}

impl Wired {
    /// Whether this run requires it: by its name in `CONFORMANCE_REQUIRE` or
    /// `MICROAGENT_REQUIRE`, or by `all` in the latter.
    pub fn is_required(&self) -> bool {
        let holds = |variable: &str, word: &str| {
            let names = std::env::var(variable).unwrap_or_default();
            names.split(',').any(|name| name.trim() == word)
        };
        holds("CONFORMANCE_REQUIRE", self.required_as)
            || holds("MICROAGENT_REQUIRE", self.required_as)
            || (self.lacks == Lacks::Tool && holds("MICROAGENT_REQUIRE", "all"))
    }

    /// The fake backend, or one that is made of it.
    pub fn fake(backend: Arc<dyn Backend>) -> Self {
        Self {
            name: "fake",
            required_as: "fake",
            lacks: Lacks::Tool,
            backend: Ok(backend),
            guests: Arc::new(FakeGuests),
            device_guests: Ok(Arc::new(FakeGuests)),
        }
    }

    /// What a case is given, without a maker in another process.
    ///
    /// # Errors
    /// Why the backend cannot be had here.
    pub fn context(&self, scratch: &Path) -> Result<Context, String> {
        Ok(Context {
            backend: self.backend.clone()?,
            guests: Arc::clone(&self.guests),
            device_guests: self.device_guests.clone(),
            maker: None,
            scratch: scratch.to_owned(),
        })
    }
}
