//! The merged image: every inode's metadata, and where its content was spooled.
//!
//! Inodes stand in one vector and are named by index; a directory maps names to
//! indices, sorted, so that walking the tree is deterministic. Each name also
//! remembers the layer that last wrote it or something beneath it, which is
//! what whiteouts go by.

mod resolve;
mod whiteout;

use std::collections::BTreeMap;

use crate::fault::{Fault, within};
use crate::layer::Mtime;
use crate::limits::{LINK_MAX, Limits};

/// Index of an inode in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct InodeId(u32);

/// The root directory.
pub(crate) const ROOT: InodeId = InodeId(0);

/// Position of a layer, lowest first.
pub(crate) type LayerIndex = u32;

/// Owner, mode and time of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
}

/// What a directory gets that no layer lists, but something lies in.
const IMPLIED: Meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime: (0, 0) };

/// An extended attribute: full name and value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) kind: Kind,
    /// Names that lead here; 0 once it is gone.
    pub(crate) links: u32,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Directory(Directory),
    File(Content),
    Symlink(Box<[u8]>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// Removed; its slot is not used again.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) entries: BTreeMap<Box<[u8]>, Entry>,
    pub(crate) parent: InodeId,
    depth: u32,
}

/// One name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) inode: InodeId,
    layer: LayerIndex,
}

/// A file's content: its length, and which of its blocks were spooled where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) runs: Box<[Run]>,
}

/// Spooled data of a file. `offset` and `spooled_at` are block-aligned; `length`
/// is too, unless the run reaches the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) spooled_at: u64,
}

#[derive(Debug)]
pub(crate) struct Tree<'l> {
    inodes: Vec<Inode>,
    limits: &'l Limits,
}

impl<'l> Tree<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        let root = Directory { entries: BTreeMap::new(), parent: ROOT, depth: 0 };
        let root =
            Inode { meta: IMPLIED, xattrs: Vec::new(), kind: Kind::Directory(root), links: 1 };
        Self { inodes: vec![root], limits }
    }

    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.0 as usize]
    }

    /// The directory `id`; `None` for anything else.
    pub(crate) fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self.inode(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self.inode_mut(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The inode that `name` in directory `parent` leads to.
    pub(crate) fn lookup(&self, parent: InodeId, name: &[u8]) -> Option<InodeId> {
        Some(self.directory(parent)?.entries.get(name)?.inode)
    }

    /// Inodes that are in use.
    pub(crate) fn live_inodes(&self) -> impl Iterator<Item = &Inode> {
        self.inodes.iter().filter(|inode| inode.links > 0)
    }

    /// The spooled data of the file `id`; nothing for anything else.
    pub(crate) fn runs(&self, id: InodeId) -> &[Run] {
        match &self.inode(id).kind {
            Kind::File(content) => &content.runs,
            _ => &[],
        }
    }

    /// Gives the directory `id` the metadata of its entry in an upper layer.
    pub(crate) fn describe(&mut self, id: InodeId, meta: Meta, xattrs: Vec<Xattr>) {
        let inode = self.inode_mut(id);
        inode.meta = meta;
        inode.xattrs = xattrs;
    }

    /// Puts a directory at `name`. One that is there keeps its entries and
    /// takes the new metadata; anything else makes way.
    pub(crate) fn put_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        (meta, xattrs): (Meta, Vec<Xattr>),
        layer: LayerIndex,
    ) -> Result<InodeId, Fault> {
        if let Some(there) = self.lookup(parent, name)
            && self.directory(there).is_some()
        {
            self.describe(there, meta, xattrs);
            self.mark(parent, name, layer);
            return Ok(there);
        }
        self.remove(parent, name);
        let depth = self.directory(parent).map_or(0, |d| d.depth) + 1;
        within(u64::from(depth), self.limits.depth, "directories above a file")?;
        let kind = Kind::Directory(Directory { entries: BTreeMap::new(), parent, depth });
        self.add(parent, name, Inode { meta, xattrs, kind, links: 1 }, layer)
    }

    /// Puts a new inode that is no directory at `name`; whatever is there,
    /// directories with all they hold included, makes way.
    pub(crate) fn put(
        &mut self,
        parent: InodeId,
        name: &[u8],
        inode: Inode,
        layer: LayerIndex,
    ) -> Result<InodeId, Fault> {
        self.remove(parent, name);
        self.add(parent, name, inode, layer)
    }

    /// Makes `name` another name of `target`.
    pub(crate) fn put_link(
        &mut self,
        parent: InodeId,
        name: &[u8],
        target: InodeId,
        layer: LayerIndex,
    ) -> Result<(), Fault> {
        if self.lookup(parent, name) == Some(target) {
            self.mark(parent, name, layer);
            return Ok(());
        }
        within(u64::from(self.inode(target).links) + 1, u64::from(LINK_MAX), "names of one file")?;
        // Before anything is removed, so that replacing a directory that holds
        // the last name of the target does not take the target with it.
        self.inode_mut(target).links += 1;
        self.remove(parent, name);
        self.link(parent, name, Entry { inode: target, layer });
        Ok(())
    }

    fn add(
        &mut self,
        parent: InodeId,
        name: &[u8],
        inode: Inode,
        layer: LayerIndex,
    ) -> Result<InodeId, Fault> {
        within(self.inodes.len() as u64, self.limits.inodes.into(), "inodes")?;
        let id = InodeId(self.inodes.len() as u32);
        self.inodes.push(inode);
        self.link(parent, name, Entry { inode: id, layer });
        Ok(id)
    }

    fn link(&mut self, parent: InodeId, name: &[u8], entry: Entry) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.entries.insert(name.into(), entry);
        }
    }

    /// Notes that `layer` wrote `name` or something beneath it.
    fn mark(&mut self, parent: InodeId, name: &[u8], layer: LayerIndex) {
        if let Some(entry) = self.directory_mut(parent).and_then(|d| d.entries.get_mut(name)) {
            entry.layer = layer;
        }
    }

    /// Removes `name`, and all beneath it, if it is there.
    fn remove(&mut self, parent: InodeId, name: &[u8]) {
        let Some(entry) = self.directory_mut(parent).and_then(|d| d.entries.remove(name)) else {
            return;
        };
        let mut pending = vec![entry.inode];
        while let Some(id) = pending.pop() {
            let inode = self.inode_mut(id);
            inode.links -= 1;
            if inode.links > 0 {
                continue;
            }
            inode.xattrs = Vec::new();
            if let Kind::Directory(gone) = std::mem::replace(&mut inode.kind, Kind::Gone) {
                pending.extend(gone.entries.into_values().map(|entry| entry.inode));
            }
        }
    }
}
