//! How a long download is told.

/// Hears what [`Store::resolve`](crate::Store::resolve) is doing. Calls come from the task
/// that resolves and must return at once.
pub trait Progress: Send + Sync {
    /// `reference` is being looked up at its origin; not called when the cache has it.
    fn resolving(&self, reference: &str);
    /// `done` bytes of the layer `digest` have arrived, of `total` where that is known.
    fn layer(&self, digest: &str, done: u64, total: Option<u64>);
    /// The layer `digest` is in the store and was verified.
    fn layer_done(&self, digest: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn resolving(&self, _: &str) {}
    fn layer(&self, _: &str, _: u64, _: Option<u64>) {}
    fn layer_done(&self, _: &str) {}
}
