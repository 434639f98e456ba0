//! The merged tree as a private directory, for a mke2fs that takes nothing else.
//!
//! Names in the tree are real ones, no link is ever followed to get to one, and
//! the kernel is asked to hold us to that. Device nodes are never made on the
//! host: named pipes stand in for them, and are put right in the finished disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};

use crate::RootfsError;
use crate::spool::write_sparse;
use crate::tree::{Inode, InodeId, Kind, ROOT, Tree};

/// Bytes copied at a time.
const COPY_BUFFER: usize = 1 << 20;

/// The directory; removed with all it holds when this is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    /// Nobody but us may enter this one...
    private: PathBuf,
    /// ...in which the tree's root has the mode that it is to have.
    root: PathBuf,
}

impl Staging {
    /// Writes `tree` beside `out`.
    ///
    /// # Errors
    /// [`RootfsError::Io`]; nothing is left then.
    pub(super) fn of(tree: &Tree<'_>, spool: &File, out: &Path) -> Result<Self, RootfsError> {
        let private = out.with_added_extension(format!("tree-{}", std::process::id()));
        let io = |source| RootfsError::Io {
            doing: format!("writing the image's files to {}", private.display()),
            source,
        };
        std::fs::DirBuilder::new().mode(0o700).create(&private).map_err(io)?;
        let staging = Self { root: private.join("root"), private: private.clone() };
        staging.fill(tree, spool).map_err(io)?;
        Ok(staging)
    }

    /// The root of the tree.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn fill(&self, tree: &Tree<'_>, spool: &File) -> io::Result<()> {
        std::fs::create_dir(&self.root)?;
        let root = rustix::fs::open(
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut writer = Writer { spool, root, seen: HashMap::new() };
        let mut directories = Vec::new();
        let mut pending = vec![(PathBuf::new(), ROOT)];
        while let Some((path, id)) = pending.pop() {
            let Some(directory) = tree.directory(id) else { continue };
            let at = writer.directory(&path)?;
            for (name, entry) in &directory.entries {
                let name = OsStr::from_bytes(name);
                let inode = tree.inode(entry.inode);
                if tree.directory(entry.inode).is_some() {
                    rustix::fs::mkdirat(&at, name, Mode::RWXU)?;
                    pending.push((path.join(name), entry.inode));
                } else {
                    writer.name(&at, &path.join(name), entry.inode, inode)?;
                }
            }
            directories.push((path, id));
        }
        // Children first, and after their contents, so that times stay.
        for (path, id) in directories.iter().rev() {
            let at = writer.directory(path)?;
            describe(&at, OsStr::new("."), tree.inode(*id))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.private) {
            tracing::warn!(path = %self.private.display(), %error, "left a scratch directory");
        }
    }
}

struct Writer<'s> {
    spool: &'s File,
    root: OwnedFd,
    /// Where inodes of several names were written first.
    seen: HashMap<InodeId, PathBuf>,
}

impl Writer<'_> {
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        open_beneath(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    fn name(&mut self, at: &OwnedFd, path: &Path, id: InodeId, inode: &Inode) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        if let Some(first) = self.seen.get(&id) {
            let parent = self.directory(first.parent().unwrap_or(Path::new("")))?;
            let first = first.file_name().unwrap_or_default();
            return Ok(rustix::fs::linkat(&parent, first, at, name, AtFlags::empty())?);
        }
        if inode.links > 1 {
            self.seen.insert(id, path.to_path_buf());
        }
        match &inode.kind {
            Kind::File(content) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let file =
                    File::from(open_beneath(at, Path::new(name), flags, Mode::RUSR | Mode::WUSR)?);
                file.set_len(content.size)?;
                for run in &content.runs {
                    self.copy(&file, run.spooled_at, run.offset, run.length)?;
                }
            }
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(OsStr::from_bytes(target), at, name)?;
            }
            Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                rustix::fs::mknodat(at, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            }
            Kind::Directory(_) | Kind::Gone => return Ok(()),
        }
        describe(at, name, inode)
    }

    fn copy(&self, to: &File, mut from: u64, mut at: u64, mut left: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BUFFER.min(left as usize)];
        while left > 0 {
            let now = left.min(COPY_BUFFER as u64) as usize;
            self.spool.read_exact_at(&mut buffer[..now], from)?;
            write_sparse(to, &buffer[..now], at)?;
            from += now as u64;
            at += now as u64;
            left -= now as u64;
        }
        Ok(())
    }
}

fn open_beneath(at: &OwnedFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(at, path, flags, mode, resolve)?)
}

/// Owner, attributes, mode and times, in the order in which one does not undo
/// another.
fn describe(at: &OwnedFd, name: &OsStr, inode: &Inode) -> io::Result<()> {
    let meta = &inode.meta;
    let link = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(at, name, Some(uid), Some(gid), link)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", at.as_fd().as_raw_fd())).join(name);
    for (key, value) in &inode.xattrs {
        rustix::fs::lsetxattr(&path, OsStr::from_bytes(key), value, XattrFlags::empty())?;
    }
    if !matches!(inode.kind, Kind::Symlink(_)) {
        rustix::fs::chmodat(at, name, Mode::from_raw_mode(meta.mode.into()), AtFlags::empty())?;
    }
    let time = Timespec { tv_sec: meta.mtime.0, tv_nsec: meta.mtime.1.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(at, name, &times, link)?;
    Ok(())
}
