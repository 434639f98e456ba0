//! Whiteouts hide what lower layers put there, never what their own layer
//! does, wherever in the archive they stand (OCI image specification, "Layer
//! Filesystem Changeset", "Whiteouts").

use super::{InodeId, LayerIndex, Tree};

impl Tree<'_> {
    /// `.wh.<name>`: hides `name` of lower layers.
    pub(crate) fn hide(&mut self, parent: InodeId, name: &[u8], layer: LayerIndex) {
        let Some(entry) = self.directory(parent).and_then(|d| d.entries.get(name)) else { return };
        let (inode, written_by) = (entry.inode, entry.layer);
        if written_by < layer {
            self.remove(parent, name);
        } else if self.directory(inode).is_some() {
            self.hide_entries(inode, layer);
        }
    }

    /// `.wh..wh..opq`: hides all entries of `directory` that are of lower layers.
    pub(crate) fn hide_entries(&mut self, directory: InodeId, layer: LayerIndex) {
        let mut pending = vec![directory];
        while let Some(at) = pending.pop() {
            let Some(directory) = self.directory(at) else { continue };
            let mut hidden = Vec::new();
            for (name, entry) in &directory.entries {
                if entry.layer < layer {
                    hidden.push(name.clone());
                } else if self.directory(entry.inode).is_some() {
                    pending.push(entry.inode);
                }
            }
            for name in hidden {
                self.remove(at, &name);
            }
        }
    }
}
