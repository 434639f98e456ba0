//! From an image to files on the host.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::budget::Budget;
use super::directory;
use super::inode::Inode;
use super::{Ext4, Node, NodeKind, ReadError};
use crate::target::{Extracted, Target, TargetMeta};

/// Something on the way. What waits lies in directories that are one within the other, so that
/// there are few parents, however many names.
struct Pending {
    /// The directory's path beneath the target.
    parent: Rc<[u8]>,
    /// Empty for the target itself.
    name: Vec<u8>,
    inode: u32,
}

impl Pending {
    fn path(&self) -> Vec<u8> {
        let slash: &[u8] = if self.parent.is_empty() { b"" } else { b"/" };
        [&self.parent, slash, &self.name].concat()
    }
}

impl Ext4 {
    /// Copies a file, a directory with all beneath it, or whatever else `from` is, to `target`.
    ///
    /// # Errors
    /// [`ReadError`]; nothing is at the target's place then.
    pub fn extract(&self, from: Node, target: Target) -> Result<Extracted, ReadError> {
        self.extract_within(&from, target, Budget::new())
    }

    pub(super) fn extract_within(
        &self,
        from: &Node,
        mut target: Target,
        mut budget: Budget,
    ) -> Result<Extracted, ReadError> {
        self.blocks.begin();
        let mut entered = HashSet::new();
        let mut names: HashMap<u32, Vec<u8>> = HashMap::new();
        let (parent, name) = (Rc::<[u8]>::from([]), Vec::new());
        let mut pending = vec![Pending { parent, name, inode: from.inode.number }];
        while let Some(next) = pending.pop() {
            let (path, number) = (next.path(), next.inode);
            budget.drop(&next.name);
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
                    pending.extend(self.children(&path, &node, &mut budget)?);
                }
                NodeKind::File => match names.get(&number) {
                    Some(first) => target.hard_link(&path, first)?,
                    None => {
                        self.copy(&node, &path, kept, &mut target)?;
                        if meta.links > 1 {
                            budget.keep(&path)?;
                            names.insert(number, path);
                        }
                    }
                },
                NodeKind::Symlink => target.symlink(&path, &self.target(&node)?, kept)?,
                other => target.leave_out(&path, other.name())?,
            }
        }
        target.finish()
    }

    /// What is in a directory, the last name first, so that the first is taken next.
    fn children(
        &self,
        path: &[u8],
        of: &Node,
        budget: &mut Budget,
    ) -> Result<Vec<Pending>, ReadError> {
        let parent: Rc<[u8]> = Rc::from(path);
        let child = |name: super::Name| Pending {
            parent: Rc::clone(&parent),
            name: name.bytes,
            inode: name.inode,
        };
        let names = directory::names(&self.blocks, &of.inode, budget)?;
        Ok(names.into_iter().rev().map(child).collect())
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
