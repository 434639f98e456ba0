//! Declaring the merged tree to mkext4.

use std::collections::HashMap;

use mkext4::{FsBuilder, InodeHandle, Meta, Options, ROOT as EXT4_ROOT, SparseSeg, SpecialKind};

use super::{acl, unsupported};
use crate::RootfsError;
use crate::tree::{self, Content, Inode, InodeId, Kind, ROOT, Tree, Xattr};

/// mkext4 makes this directory itself, as every ext4 file system has it.
const LOST_FOUND: &[u8] = b"lost+found";

/// Attribute namespaces that Linux knows; it refuses to store any other.
const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];

/// Seconds since 1970 that an ext4 inode can hold: 34 bits, from 1901 to 2446.
const TIME_MIN: i64 = -(1 << 31);
const TIME_MAX: i64 = (1 << 34) - (1 << 31) - 1;

/// Where the files with content ended up.
pub(super) struct Declared {
    /// In the order of their content.
    pub(super) files: Vec<(InodeHandle, InodeId)>,
}

/// A name of something that is no directory, found on the way.
struct Name<'t> {
    parent: InodeHandle,
    name: &'t str,
    inode: InodeId,
}

/// Declares everything in `tree`: directories first, by name, then the rest in
/// the order in which contents were spooled. Nothing depends on anything but
/// the tree, so that the image does not either.
pub(super) fn declare(
    tree: &Tree<'_>,
    options: Options,
) -> Result<(FsBuilder, Declared), RootfsError> {
    let mut builder = FsBuilder::new(options).map_err(|error| unsupported(&error))?;
    let mut names = directories(tree, &mut builder)?;
    names.sort_by_key(|name| tree.runs(name.inode).first().map(|run| run.spooled_at));
    let mut handles: HashMap<InodeId, InodeHandle> = HashMap::new();
    let mut files = Vec::new();
    for Name { parent, name, inode: id } in names {
        let inode = tree.inode(id);
        if inode.links > 1
            && let Some(handle) = handles.get(&id)
        {
            builder.hardlink(parent, name, *handle).map_err(|error| unsupported(&error))?;
            continue;
        }
        let handle = node(&mut builder, parent, name, inode)?;
        xattrs(&mut builder, handle, &inode.xattrs, name)?;
        if inode.links > 1 {
            handles.insert(id, handle);
        }
        if !tree.runs(id).is_empty() {
            files.push((handle, id));
        }
    }
    Ok((builder, Declared { files }))
}

/// Declares the directories and collects the names of everything else.
fn directories<'t>(
    tree: &'t Tree<'_>,
    builder: &mut FsBuilder,
) -> Result<Vec<Name<'t>>, RootfsError> {
    let root = tree.inode(ROOT);
    builder.set_meta(EXT4_ROOT, meta(&root.meta)).map_err(|error| unsupported(&error))?;
    xattrs(builder, EXT4_ROOT, &root.xattrs, "/")?;
    let mut names = Vec::new();
    let mut pending = vec![(EXT4_ROOT, ROOT)];
    while let Some((handle, id)) = pending.pop() {
        let Some(directory) = tree.directory(id) else { continue };
        for (raw, entry) in &directory.entries {
            if id == ROOT && **raw == *LOST_FOUND {
                lost_found(tree, entry.inode)?;
                continue;
            }
            let name = text(raw, "file name")?;
            let inode = tree.inode(entry.inode);
            if tree.directory(entry.inode).is_none() {
                names.push(Name { parent: handle, name, inode: entry.inode });
                continue;
            }
            let child = builder
                .mkdir(handle, name, meta(&inode.meta))
                .map_err(|error| unsupported(&error))?;
            xattrs(builder, child, &inode.xattrs, name)?;
            pending.push((child, entry.inode));
        }
    }
    Ok(names)
}

/// An image made from a mounted disk may bring an empty one along, which the
/// disk's own stands for; anything else could not be reached.
fn lost_found(tree: &Tree<'_>, id: InodeId) -> Result<(), RootfsError> {
    match tree.directory(id) {
        Some(directory) if directory.entries.is_empty() => Ok(()),
        _ => Err(RootfsError::Unsupported {
            what: "the image has a /lost+found that is not an empty directory".to_owned(),
            hint: "rename it in the image: ext4 keeps that name for itself",
        }),
    }
}

fn node(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    name: &str,
    inode: &Inode,
) -> Result<InodeHandle, RootfsError> {
    let meta = meta(&inode.meta);
    match &inode.kind {
        Kind::File(content) => file(builder, parent, name, meta, content),
        Kind::Symlink(target) => builder.symlink(parent, name, text(target, "link target")?, meta),
        Kind::CharDevice { major, minor } => {
            let kind = SpecialKind::Char { major: *major, minor: *minor };
            builder.mknod(parent, name, meta, kind)
        }
        Kind::BlockDevice { major, minor } => {
            let kind = SpecialKind::Block { major: *major, minor: *minor };
            builder.mknod(parent, name, meta, kind)
        }
        Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo),
        Kind::Directory(_) | Kind::Gone => {
            Err(mkext4::Error::Invalid(format!("{name:?} cannot be declared as a file")))
        }
    }
    .map_err(|error| unsupported(&error))
}

/// A file, its holes left out.
fn file(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    name: &str,
    meta: Meta,
    content: &Content,
) -> mkext4::Result<InodeHandle> {
    let dense = match &*content.runs {
        [] => content.size == 0,
        [run] => run.offset == 0 && run.length == content.size,
        _ => false,
    };
    if dense {
        return builder.file(parent, name, meta, content.size);
    }
    let mut segments = Vec::with_capacity(content.runs.len() * 2 + 1);
    let mut end = 0;
    for run in &content.runs {
        if run.offset > end {
            segments.push(SparseSeg::Hole(run.offset - end));
        }
        segments.push(SparseSeg::Data(run.length));
        end = run.offset + run.length;
    }
    if content.size > end {
        segments.push(SparseSeg::Hole(content.size - end));
    }
    builder.file_sparse(parent, name, meta, &segments)
}

fn xattrs(
    builder: &mut FsBuilder,
    handle: InodeHandle,
    xattrs: &[Xattr],
    name: &str,
) -> Result<(), RootfsError> {
    for (key, value) in xattrs {
        if !NAMESPACES.iter().any(|namespace| key.starts_with(namespace)) {
            tracing::warn!(
                file = name,
                attribute = %String::from_utf8_lossy(key),
                "left out an extended attribute that linux cannot store"
            );
            continue;
        }
        let key_text = text(key, "attribute name")?;
        let set = if acl::is_acl(key) {
            let value = acl::to_disk(value).ok_or_else(|| RootfsError::Unsupported {
                what: format!("{name:?} has a malformed ACL in {key_text}"),
                hint: "",
            })?;
            builder.set_xattr(handle, key_text, &value)
        } else {
            builder.set_xattr(handle, key_text, value)
        };
        set.map_err(|error| unsupported(&error))?;
    }
    Ok(())
}

fn meta(meta: &tree::Meta) -> Meta {
    let (seconds, nanoseconds) = meta.mtime;
    let mtime = (seconds.clamp(TIME_MIN, TIME_MAX), nanoseconds.min(999_999_999));
    Meta::new(meta.mode, meta.uid, meta.gid, mtime)
}

fn text<'n>(raw: &'n [u8], what: &str) -> Result<&'n str, RootfsError> {
    std::str::from_utf8(raw).map_err(|_| RootfsError::Unsupported {
        what: format!("{what} {:?} is not UTF-8", String::from_utf8_lossy(raw)),
        hint: "the built-in writer needs UTF-8 names; try --mke2fs, which does not",
    })
}
