//! Reading ext4: files back out of a disk that no machine uses.
//!
//! A guest, or a stranger, wrote the disk. Every number in it is checked against the file's
//! length or a named maximum before it is used, nothing is allocated by its word alone, and
//! what is walked ends: extents ascend, a directory is entered once, links are followed
//! [`SYMLINK_MAX`] times. A journal that was not played back is read as if it had been.
//!
//! Deliberately not here: checksums (e2fsck judges disks, this only reads them), extended
//! attributes, block maps of ext2 and ext3, data inside inodes, encryption.

mod blocks;
mod budget;
mod directory;
mod error;
mod extents;
mod fields;
mod inode;
mod journal;
mod superblock;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

pub use error::ReadError;
pub(crate) use error::within;
pub use inode::{NodeKind, NodeMeta};

use crate::limits::SYMLINK_MAX;
use blocks::Blocks;
use budget::Budget;
use inode::Inode;
use superblock::Superblock;

/// Inode of the root directory.
const ROOT: u32 = 2;

/// Longest link target, in bytes: Linux stores 4095 and a NUL.
const TARGET_MAX: u64 = 4095;

/// Takes a piece of a file, with its offset.
type Take<'t> = dyn FnMut(u64, &[u8]) -> Result<(), ReadError> + 't;

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ext4Facts {
    /// Length of the file system in bytes.
    pub length: u64,
    /// Its label; empty if it has none.
    pub label: String,
    /// Whether it was not unmounted: it can be mounted only where it can be written to.
    pub needs_recovery: bool,
}

/// An ext4 file system in a file, for reading.
#[derive(Debug)]
pub struct Ext4 {
    blocks: Blocks,
}

/// A file, directory or other thing in an image.
#[derive(Debug, Clone)]
pub struct Node {
    inode: Inode,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name: no slash, no NUL, neither `.` nor `..`.
    pub bytes: Vec<u8>,
    inode: u32,
}

/// Whether the last component of a path, if it is a symbolic link, stands for what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// For what it leads to.
    Yes,
    /// For itself.
    No,
}

/// Looks at the superblock of an image, and whether the file is as long as that says.
///
/// # Errors
/// [`ReadError`]
pub fn inspect(image: &File) -> Result<Ext4Facts, ReadError> {
    let superblock = blocks::superblock(image)?;
    let Superblock { ref label, .. } = superblock;
    Ok(Ext4Facts {
        length: superblock.length(),
        label: label.clone(),
        needs_recovery: superblock.needs_recovery(),
    })
}

impl Ext4 {
    /// Opens an image.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let image = File::open(path).map_err(ReadError::io("opening it"))?;
        Self::of(image)
    }

    /// Reads an image that is open.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn of(image: File) -> Result<Self, ReadError> {
        let superblock = blocks::superblock(&image)?;
        superblock.readable()?;
        let journal = superblock.journal;
        let mut blocks = Blocks::new(image, superblock);
        if let Some(inode) = journal {
            let replayed = journal::replayed(&blocks, &Inode::read(&blocks, inode)?)?;
            blocks.replace(replayed);
        }
        Ok(Self { blocks })
    }

    /// What `path`, from the root, leads to. Links are followed inside the image, whose root is
    /// its own parent.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], or what reading the way there meets.
    pub fn lookup(&self, path: &[u8], follow: Follow) -> Result<Node, ReadError> {
        let shown = || String::from_utf8_lossy(path).into_owned();
        within(path.len() as u64, TARGET_MAX, "bytes in a path")?;
        self.blocks.begin();
        let mut above: Vec<Inode> = Vec::new();
        let mut at = Inode::read(&self.blocks, ROOT)?;
        let mut pending: VecDeque<Vec<u8>> = parts(path).collect();
        let mut followed = 0;
        while let Some(name) = pending.pop_front() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at = above.pop().unwrap_or(at);
                    continue;
                }
                _ => {}
            }
            if at.kind != NodeKind::Directory {
                return Err(ReadError::NotFound(shown()));
            }
            let found = directory::find(&self.blocks, &at, &name)?;
            let next =
                Inode::read(&self.blocks, found.ok_or_else(|| ReadError::NotFound(shown()))?)?;
            if next.kind != NodeKind::Symlink || (pending.is_empty() && follow == Follow::No) {
                above.push(std::mem::replace(&mut at, next));
                within(above.len() as u64, TARGET_MAX, "directories above a file")?;
                continue;
            }
            followed += 1;
            within(followed, SYMLINK_MAX.into(), "symbolic links on the way")?;
            let target = self.target(&Node { inode: next })?;
            if target.starts_with(b"/") {
                above.clear();
                at = Inode::read(&self.blocks, ROOT)?;
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                pending.push_front(part);
            }
        }
        Ok(Node { inode: at })
    }

    /// The names in a directory, in the order in which they stand there.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn names(&self, directory: &Node) -> Result<Vec<Name>, ReadError> {
        directory::names(&self.blocks, &directory.inode, &mut Budget::new())
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn node(&self, name: &Name) -> Result<Node, ReadError> {
        Ok(Node { inode: Inode::read(&self.blocks, name.inode)? })
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn target(&self, link: &Node) -> Result<Vec<u8>, ReadError> {
        let inode = &link.inode;
        within(inode.meta.size, TARGET_MAX, "bytes in a link target")?;
        if let Some(target) = inode.inline_target() {
            return Ok(target);
        }
        let mut target = vec![0; inode.meta.size as usize];
        self.read(link, &mut |offset, bytes| {
            // The size is that of the vector, and no piece reaches beyond it.
            if let Some(place) = target.get_mut(offset as usize..offset as usize + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            Ok(())
        })?;
        Ok(target)
    }

    /// Gives the data of a file to `take`, with its offset, in ascending order; holes are left
    /// out.
    ///
    /// # Errors
    /// [`ReadError`], also of `take`.
    pub fn read(&self, file: &Node, take: &mut Take<'_>) -> Result<(), ReadError> {
        extents::read(&self.blocks, &file.inode, take)
    }
}

impl Node {
    /// What it is.
    pub fn kind(&self) -> NodeKind {
        self.inode.kind
    }

    /// What is known of it beside its content.
    pub fn meta(&self) -> NodeMeta {
        self.inode.meta
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/').map(<[u8]>::to_vec)
}
