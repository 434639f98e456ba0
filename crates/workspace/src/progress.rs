//! What a run tells while it goes on.

/// Hears how a run gets on; every method may be called from another thread.
pub trait Progress: Send + Sync {
    /// A reference is being looked up.
    fn resolving(&self, reference: &str);
    /// So many bytes of a layer are here.
    fn layer(&self, digest: &str, done: u64, total: Option<u64>);
    /// A layer is here and verified.
    fn layer_done(&self, digest: &str);
    /// A root disk is being built.
    fn building_rootfs(&self, reference: &str);
    /// A disk is being made of an archive or a directory.
    fn bundling(&self, disk: &str);
    /// The machine starts.
    fn booting(&self, backend: &str);
    /// A setup command begins, counted from 1.
    fn setting_up(&self, number: usize, line: &str);
    /// The command begins: a terminal is its own until it has ended.
    fn running(&self);
    /// The command has ended, or what ran it.
    fn ended(&self);
    /// Something that the user should know and that is no failure.
    fn note(&self, text: &str);
    /// A part of the guest's console, for those who want to see it.
    fn console(&self, text: &[u8]);
}

/// Passes on what the image layer tells.
pub struct ForImages<'a>(pub &'a dyn Progress);

impl microagent_image::Progress for ForImages<'_> {
    fn resolving(&self, reference: &str) {
        self.0.resolving(reference);
    }

    fn layer(&self, digest: &str, done: u64, total: Option<u64>) {
        self.0.layer(digest, done, total);
    }

    fn layer_done(&self, digest: &str) {
        self.0.layer_done(digest);
    }
}
