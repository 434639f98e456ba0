//! What a case is given.

use std::path::PathBuf;
use std::sync::Arc;

use microagent_backend::Backend;

use crate::{Failure, Guests, Maker};

/// What a case is given.
#[derive(Clone)]
pub struct Context {
    /// The backend to be judged.
    pub backend: Arc<dyn Backend>,
    /// Guests that need nothing but the backend: they can talk, tick and end.
    pub guests: Arc<dyn Guests>,
    /// Guests that see their devices; without them, cases about devices are skipped for the
    /// reason given here.
    pub device_guests: Result<Arc<dyn Guests>, String>,
    /// Makes machines in another process; without one, cases about the death of a
    /// machine's maker are skipped.
    pub maker: Option<Maker>,
    /// An empty directory of the case's own.
    pub scratch: PathBuf,
}

impl Context {
    pub(crate) fn device_guests(&self) -> Result<&dyn Guests, Failure> {
        self.device_guests.as_deref().map_err(|reason| Failure::Unavailable(reason.clone()))
    }
}
