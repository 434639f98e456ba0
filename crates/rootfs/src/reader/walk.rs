//! From an image to files on the host.

use std::collections::{HashMap, HashSet};

use super::inode::Inode;
use super::{Ext4, Node, NodeKind, ReadError};
use crate::target::{Extracted, Target, TargetMeta};

/// Something on the way: its path beneath the target, and its inode.
struct Pending {
    path: Vec<u8>,
    inode: u32,
}

impl Ext4 {
    /// Copies a file, a directory with all beneath it, or whatever else `from` is, to `target`.
    ///
    /// # Errors
    /// [`ReadError`]; nothing is at the target's place then.
    pub fn extract(&self, from: Node, mut target: Target) -> Result<Extracted, ReadError> {
        let mut entered = HashSet::new();
        let mut names: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut pending = vec![Pending { path: Vec::new(), inode: from.inode.number }];
        while let Some(Pending { path, inode: number }) = pending.pop() {
            let node = Node { inode: Inode::read(&self.blocks, number)? };
            let meta = node.meta();
            let kept = TargetMeta { mode: meta.mode.into(), mtime: meta.mtime };
            match node.kind() {
                NodeKind::Directory => {
                    if !entered.insert(number) {
                        let twice = format!("directory inode {number} is in two places");
                        return Err(ReadError::Corrupt(twice));
                    }
                    target.directory(&path, kept)?;
                    pending.extend(self.children(&path, &node)?);
                }
                NodeKind::File => match names.get(&number) {
                    Some(first) => target.hard_link(&path, first)?,
                    None => {
                        self.copy(&node, &path, kept, &mut target)?;
                        if meta.links > 1 {
                            names.insert(number, path);
                        }
                    }
                },
                NodeKind::Symlink => target.symlink(&path, &self.target(&node)?, kept)?,
                other => target.leave_out(&path, other.name()),
            }
        }
        target.finish()
    }

    /// What is in a directory, the last name first, so that the first is taken next.
    fn children(&self, path: &[u8], directory: &Node) -> Result<Vec<Pending>, ReadError> {
        let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
        let child = |name: super::Name| Pending {
            path: [path, slash, &name.bytes].concat(),
            inode: name.inode,
        };
        Ok(self.names(directory)?.into_iter().rev().map(child).collect())
    }

    fn copy(
        &self,
        from: &Node,
        path: &[u8],
        meta: TargetMeta,
        target: &mut Target,
    ) -> Result<(), ReadError> {
        let file = target.file(path, from.meta().size, meta)?;
        self.read(from, &mut |offset, bytes| target.write(&file, offset, bytes))?;
        target.close(file)
    }
}
