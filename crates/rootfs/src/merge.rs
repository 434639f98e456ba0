//! Layers into one tree, contents into the spool.

use std::io;

use crate::fault::{Fault, within};
use crate::layer::{
    Archive, Contents, Ending, Feed, Hashing, Member, MemberKind, Producer, SparseMap,
    decompress_all,
};
use crate::name::components;
use crate::spool::{BLOCK, Spool};
use crate::tree::{Content, Inode, Kind, LayerIndex, Meta, ROOT, Run, Tree, Xattr};
use crate::{LayerInput, Limits, Owners, RootfsError};

const WHITEOUT: &[u8] = b".wh.";
/// Names that AUFS kept for itself; all but the opaque marker mean nothing.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Bits by which a program runs as its owner or group.
const SET_ID: u16 = 0o6000;
/// The attribute that holds what a program may do whoever runs it.
const CAPABILITIES: &[u8] = b"security.capability";

/// Merges `layers`, lowest first. `progress` is told how many bytes of their
/// files were read so far.
pub(crate) fn merge<'l>(
    layers: &[LayerInput],
    limits: &'l Limits,
    spool: &mut Spool,
    progress: &dyn Fn(u64),
) -> Result<Tree<'l>, RootfsError> {
    let names: Vec<_> = layers.iter().map(|l| (&l.description[..], l.diff_id.as_deref())).collect();
    let merging = Merging { limits, contents: Contents::Layers, progress };
    merge_from(&names, &merging, spool, |producer| decompress_all(layers, producer))
}

/// How archives are merged.
pub(crate) struct Merging<'l, 'p> {
    pub(crate) limits: &'l Limits,
    pub(crate) contents: Contents,
    pub(crate) progress: &'p dyn Fn(u64),
}

/// What an archive is called, and what its digest must be.
type Named<'n> = (&'n str, Option<&'n str>);

/// Merges the archives that `produce`, on a thread of its own, hands over: one for each name.
pub(crate) fn merge_from<'l>(
    archives: &[Named<'_>],
    merging: &Merging<'l, '_>,
    spool: &mut Spool,
    produce: impl FnOnce(&Producer) + Send,
) -> Result<Tree<'l>, RootfsError> {
    let Merging { limits, contents, progress } = *merging;
    let tree = Tree::new(limits);
    let mut merger = Merger { tree, spool, limits, contents, entries: 0, metadata: 0 };
    std::thread::scope(|scope| {
        let (mut feed, producer) = Feed::new(limits, progress);
        std::thread::Builder::new()
            .name("layers".to_owned())
            .spawn_scoped(scope, move || produce(&producer))
            .map_err(RootfsError::io("starting a thread"))?;
        for (index, archive) in (0..).zip(archives) {
            merger.layer(*archive, index, &mut feed)?;
        }
        Ok(())
    })?;
    Ok(merger.tree)
}

struct Merger<'s, 'l> {
    tree: Tree<'l>,
    spool: &'s mut Spool,
    limits: &'l Limits,
    contents: Contents,
    entries: u64,
    metadata: u64,
}

impl Merger<'_, '_> {
    fn layer(
        &mut self,
        (name, diff_id): Named<'_>,
        index: LayerIndex,
        feed: &mut Feed<'_>,
    ) -> Result<(), RootfsError> {
        feed.begin(if diff_id.is_some() { Hashing::On } else { Hashing::Off });
        let ending = self.archive(index, feed).map_err(|fault| fault.of_layer(name))?;
        let digest = feed.finish().map_err(|fault| fault.of_layer(name))?;
        match (diff_id, digest) {
            (Some(expected), Some(got)) if expected != got => Err(RootfsError::DigestMismatch {
                layer: name.to_owned(),
                expected: expected.to_owned(),
                got,
            }),
            // Some producers leave the end marker out. Without a digest nothing
            // else would tell such an archive from a truncated one.
            (None, _) if ending == Ending::Unmarked => {
                Err(Fault::corrupt("it is truncated: the archive has no end").of_layer(name))
            }
            _ => Ok(()),
        }
    }

    fn archive(&mut self, index: LayerIndex, feed: &mut Feed<'_>) -> Result<Ending, Fault> {
        let mut entries = self.entries;
        let mut archive = Archive::new(feed, self.limits, &mut entries);
        while let Some(member) = archive.next()? {
            self.member(member, index, &mut archive)?;
        }
        let ending = archive.ending();
        self.entries = entries;
        Ok(ending)
    }

    fn member(
        &mut self,
        member: Member,
        layer: LayerIndex,
        archive: &mut Archive<'_, '_>,
    ) -> Result<(), Fault> {
        let Member { path, kind, mode, uid, gid, mtime, xattrs } = member;
        self.account(&path, &kind, &xattrs)?;
        // Linux has no other mode for links, whatever archivers write.
        let mode = if matches!(kind, MemberKind::Symlink { .. }) { 0o777 } else { mode };
        let (meta, xattrs) = self.contents.owned(Meta { mode, uid, gid, mtime }, &kind, xattrs);
        let parts = components(&path, self.limits)?;
        let Some((name, parents)) = parts.split_last() else {
            return self.root(&path, &kind, meta, xattrs);
        };
        let layers = self.contents == Contents::Layers;
        if layers && parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
            return Err(Fault::refused(
                &path,
                "a directory in its path has the name of a whiteout",
            ));
        }
        if layers && name.starts_with(WHITEOUT) {
            return self.whiteout(&path, parents, name, layer);
        }
        match kind {
            MemberKind::Directory => {
                let parent = self.tree.make_directories(parents, layer)?;
                self.tree.put_directory(parent, name, (meta, xattrs), layer)?;
            }
            MemberKind::HardLink { target } => {
                self.hard_link(&path, parents, name, &target, layer)?
            }
            other => {
                let kind = self.content(&path, other, archive)?;
                let parent = self.tree.make_directories(parents, layer)?;
                self.tree.put(parent, name, Inode { meta, xattrs, kind, links: 1 }, layer)?;
            }
        }
        Ok(())
    }

    fn root(
        &mut self,
        path: &[u8],
        kind: &MemberKind,
        meta: Meta,
        xattrs: Vec<Xattr>,
    ) -> Result<(), Fault> {
        if *kind != MemberKind::Directory {
            return Err(Fault::refused(path, "the root is not a directory"));
        }
        self.tree.describe(ROOT, meta, xattrs);
        Ok(())
    }

    fn whiteout(
        &mut self,
        path: &[u8],
        parents: &[&[u8]],
        name: &[u8],
        layer: LayerIndex,
    ) -> Result<(), Fault> {
        let hidden = name.strip_prefix(WHITEOUT).unwrap_or_default();
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Fault::refused(path, "the whiteout names nothing"));
        }
        if name.starts_with(WHITEOUT_META) && name != OPAQUE {
            return Ok(());
        }
        let Some(parent) = self.tree.find_directory(parents)? else { return Ok(()) };
        if name == OPAQUE {
            self.tree.hide_entries(parent, layer);
        } else {
            self.tree.hide(parent, hidden, layer);
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        path: &[u8],
        parents: &[&[u8]],
        name: &[u8],
        target: &[u8],
        layer: LayerIndex,
    ) -> Result<(), Fault> {
        let target_parts = components(target, self.limits)?;
        let missing = || {
            let shown = String::from_utf8_lossy(target).into_owned();
            Fault::refused(path, format!("its hard link target {shown:?} does not exist"))
        };
        let (target_name, target_parents) = target_parts.split_last().ok_or_else(missing)?;
        let target_parent = self.tree.find_directory(target_parents)?.ok_or_else(missing)?;
        let inode = self.tree.lookup(target_parent, target_name).ok_or_else(missing)?;
        if self.tree.directory(inode).is_some() {
            return Err(Fault::refused(path, "it is a hard link to a directory"));
        }
        let parent = self.tree.make_directories(parents, layer)?;
        self.tree.put_link(parent, name, inode, layer)
    }

    fn content(
        &mut self,
        path: &[u8],
        kind: MemberKind,
        archive: &mut Archive<'_, '_>,
    ) -> Result<Kind, Fault> {
        Ok(match kind {
            MemberKind::File { size } => Kind::File(self.spool_file(size, archive)?),
            MemberKind::Sparse(map) => Kind::File(self.spool_sparse(&map, archive)?),
            MemberKind::Symlink { target } => {
                if target.is_empty() || target.contains(&0) {
                    return Err(Fault::refused(path, "its link target is empty or holds a NUL"));
                }
                // Linux stores 4095 bytes and a NUL.
                within(target.len() as u64, self.limits.path_bytes - 1, "bytes in a link target")?;
                Kind::Symlink(target.into())
            }
            MemberKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            MemberKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            MemberKind::Fifo => Kind::Fifo,
            MemberKind::Directory | MemberKind::HardLink { .. } => {
                return Err(Fault::refused(path, "it has no content of its own"));
            }
        })
    }

    fn spool_file(&mut self, size: u64, archive: &mut Archive<'_, '_>) -> Result<Content, Fault> {
        if size == 0 {
            return Ok(Content { size, runs: Box::default() });
        }
        let spooled_at = self.spool.position();
        let spool = &mut *self.spool;
        archive.read_body(size, &mut |piece| spool.append(piece).map_err(spooling))?;
        spool.align().map_err(spooling)?;
        Ok(Content { size, runs: Box::new([Run { offset: 0, length: size, spooled_at }]) })
    }

    /// Spools the blocks that hold data; two segments may share one.
    fn spool_sparse(
        &mut self,
        map: &SparseMap,
        archive: &mut Archive<'_, '_>,
    ) -> Result<Content, Fault> {
        let mut runs: Vec<Run> = Vec::new();
        for segment in &map.segments {
            let end = runs.last().map(|run| run.offset + run.length);
            let block = segment.offset / BLOCK * BLOCK;
            let gap_from = match end {
                Some(end) if end.next_multiple_of(BLOCK) >= block => end,
                _ => {
                    self.spool.align().map_err(spooling)?;
                    runs.push(Run { offset: block, length: 0, spooled_at: self.spool.position() });
                    block
                }
            };
            // At most two blocks: the gap inside the last run's block, or in ours.
            let mut gap = segment.offset - gap_from;
            while gap > 0 {
                let now = gap.min(BLOCK);
                self.spool.append_zeros(now as usize).map_err(spooling)?;
                gap -= now;
            }
            let spool = &mut *self.spool;
            archive
                .read_body(segment.length, &mut |piece| spool.append(piece).map_err(spooling))?;
            if let Some(run) = runs.last_mut() {
                run.length = segment.offset + segment.length - run.offset;
            }
        }
        self.spool.align().map_err(spooling)?;
        for run in &mut runs {
            run.length = run.length.next_multiple_of(BLOCK).min(map.size - run.offset);
        }
        Ok(Content { size: map.size, runs: runs.into() })
    }

    /// Adds what a member costs in memory to the account.
    fn account(&mut self, path: &[u8], kind: &MemberKind, xattrs: &[Xattr]) -> Result<(), Fault> {
        let more = match kind {
            MemberKind::Symlink { target } | MemberKind::HardLink { target } => target.len(),
            MemberKind::Sparse(map) => map.segments.len() * size_of::<Run>(),
            _ => 0,
        };
        let attributes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.metadata += (path.len() + more + attributes) as u64;
        within(self.metadata, self.limits.metadata_bytes, "bytes of names and attributes")
    }
}

impl Contents {
    /// What becomes of a member's owner, and of the rights that go with it.
    fn owned(self, meta: Meta, kind: &MemberKind, mut xattrs: Vec<Xattr>) -> (Meta, Vec<Xattr>) {
        if self != Self::Bundle(Owners::Root) {
            return (meta, xattrs);
        }
        xattrs.retain(|(name, _)| name != CAPABILITIES);
        let mode = match kind {
            MemberKind::Directory => meta.mode,
            _ => meta.mode & !SET_ID,
        };
        (Meta { mode, uid: 0, gid: 0, ..meta }, xattrs)
    }
}

fn spooling(source: io::Error) -> Fault {
    Fault::Io { doing: "writing its files to scratch space", source }
}

#[cfg(test)]
pub(crate) mod tests;
