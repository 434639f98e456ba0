//! From a member's name to the directory that it belongs in.
//!
//! Symbolic links in front of the last component are followed, as unpacking
//! onto a disk would: an upper layer may say `bin/sh` where a lower one made
//! `bin` a link to `usr/bin`. All of it happens inside the tree, where the root
//! is its own parent, so there is nowhere else to end up.

use std::borrow::Cow;

use super::{IMPLIED, InodeId, Kind, LayerIndex, ROOT, Tree};
use crate::fault::{Fault, within};
use crate::limits::{NAME_MAX, SYMLINK_MAX};

impl Tree<'_> {
    /// The directory that `path` leads to, made as far as it is missing. Every
    /// name on the way counts as written by `layer`.
    ///
    /// # Errors
    /// A file in the way, or too many links, refuses the member.
    pub(crate) fn make_directories(
        &mut self,
        path: &[&[u8]],
        layer: LayerIndex,
    ) -> Result<InodeId, Fault> {
        let found = self.walk(path, Some(layer))?;
        found.ok_or_else(|| Fault::refused(&path.join(&b'/'), "its directory cannot be made"))
    }

    /// The directory that `path` leads to, if it is there.
    ///
    /// # Errors
    /// As [`Tree::make_directories`].
    pub(crate) fn find_directory(&mut self, path: &[&[u8]]) -> Result<Option<InodeId>, Fault> {
        self.walk(path, None)
    }

    fn walk(&mut self, path: &[&[u8]], make: Option<LayerIndex>) -> Result<Option<InodeId>, Fault> {
        let mut pending: Vec<Cow<'_, [u8]>> =
            path.iter().rev().map(|c| Cow::Borrowed(*c)).collect();
        let mut at = ROOT;
        let mut followed = 0;
        while let Some(name) = pending.pop() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    at = self.directory(at).map_or(ROOT, |directory| directory.parent);
                    continue;
                }
                _ => {}
            }
            let Some(next) = self.lookup(at, &name) else {
                let Some(layer) = make else { return Ok(None) };
                if name.len() > NAME_MAX {
                    return Err(Fault::refused(&name, "a component is longer than 255 bytes"));
                }
                at = self.put_directory(at, &name, (IMPLIED, Vec::new()), layer)?;
                continue;
            };
            match &self.inode(next).kind {
                Kind::Directory(_) => {
                    if let Some(layer) = make {
                        self.mark(at, &name, layer);
                    }
                    at = next;
                }
                Kind::Symlink(target) => {
                    followed += 1;
                    if followed > SYMLINK_MAX {
                        return Err(Fault::refused(
                            &path.join(&b'/'),
                            "symbolic links form a loop",
                        ));
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    let parts = target.split(|&b| b == b'/').rev();
                    pending.extend(parts.map(|part| Cow::Owned(part.to_vec())));
                    // Targets are 4 KiB at most, so this bounds the list too.
                    within(pending.len() as u64, 1 << 16, "components in a path")?;
                }
                _ if make.is_none() => return Ok(None),
                _ => {
                    return Err(Fault::refused(
                        &path.join(&b'/'),
                        "a directory in its path is a file in a lower layer",
                    ));
                }
            }
        }
        Ok(Some(at))
    }
}
