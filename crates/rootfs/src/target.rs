//! Files of a guest on their way to the host: one file or directory tree, made at a place of
//! the user's choice, and nothing outside of it.
//!
//! What comes here was chosen by a guest. Names are single components, directories are opened
//! beneath the target and through no link, nothing that exists is ever replaced, and the whole
//! gets its name only when it is complete. What cannot be had safely (devices, sockets, links
//! that lead out) is left out and told, and so are owners and set-id bits: the files are those
//! of whoever asked for them.

mod link;
mod staging;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, openat2};
use rustix::io::Errno;

use crate::limits::NAME_MAX;
use crate::reader::{ReadError, within};
use staging::{Staging, UNFINISHED};

/// Files, directories and links of one target, and whatever else is left out of it.
const ENTRIES_MAX: u64 = 2_000_000;
/// Bytes of file content, holes not counted.
const BYTES_MAX: u64 = 256 << 30;
/// What a piece of content counts at least, in bytes: small ones cost time, too.
const PIECE_MIN: u64 = 512;
/// Bytes that the paths of all directories take until the end.
const HELD_MAX: u64 = 256 << 20;
/// Longest path beneath a target, in bytes.
const PATH_MAX: u64 = 4000;
/// Deepest directory.
const DEPTH_MAX: u64 = 1024;
/// How many of the things that were left out are named.
const NAMED_MAX: usize = 20;

/// Bytes that are looked at for zeros, of which none are written.
const BLOCK: usize = 4096;

/// What becomes of a file's metadata on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetMeta {
    /// Permission bits; others are not taken over, nor those that the target's umask gives to
    /// nobody, and the owner's own right to it is never missing.
    pub mode: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
}

/// What was made.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of content, holes not counted.
    pub bytes: u64,
    /// The first of what was left out, each with the reason.
    pub left_out: Vec<String>,
    /// How much was left out.
    pub left_out_count: u64,
}

/// A file or tree that is being made. Dropped before [`Target::finish`], it is gone.
#[derive(Debug)]
pub struct Target {
    place: PathBuf,
    staging: Staging,
    umask: u32,
    done: Extracted,
    spent: Spent,
    /// Directories get their mode and times last: what is put into them changes those.
    directories: Vec<(PathBuf, TargetMeta)>,
}

/// What a target has cost so far, by what is limited.
#[derive(Debug, Default)]
struct Spent {
    entries: u64,
    bytes: u64,
    held: u64,
}

/// A file that is being filled.
#[derive(Debug)]
pub struct TargetFile {
    file: File,
    meta: TargetMeta,
    size: u64,
}

impl Target {
    /// Begins a tree that is to be at `place`, which must not exist; its directory must. No file
    /// of it has a permission bit that is in `umask`.
    ///
    /// # Errors
    /// [`ReadError::Io`]
    pub fn begin(place: &Path, umask: u32) -> Result<Self, ReadError> {
        let failed = || ReadError::io(format!("making {}", place.display()));
        if place.symlink_metadata().is_ok() {
            return Err(failed()(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let staging = Staging::make(place).map_err(failed())?;
        let place = place.to_owned();
        let (done, spent) = (Extracted::default(), Spent::default());
        Ok(Self { place, staging, umask, done, spent, directories: Vec::new() })
    }

    /// Makes a directory. An empty path is the target itself.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn directory(&mut self, path: &[u8], meta: TargetMeta) -> Result<(), ReadError> {
        let (parent, name) = self.parent(path)?;
        self.spent.held += (path.len() + size_of::<(PathBuf, TargetMeta)>()) as u64;
        within(self.spent.held, HELD_MAX, "bytes in the paths of directories")?;
        rustix::fs::mkdirat(&parent, name, Mode::RWXU).map_err(self.failed(path))?;
        self.directories.push((beneath(path), meta));
        Ok(())
    }

    /// Makes a file of this length: one hole, to be filled.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn file(
        &mut self,
        path: &[u8],
        size: u64,
        meta: TargetMeta,
    ) -> Result<TargetFile, ReadError> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file =
            open_beneath(&parent, Path::new(name), flags, mode).map_err(self.failed(path))?;
        let file = File::from(file);
        file.set_len(size).map_err(self.failed(path))?;
        Ok(TargetFile { file, meta, size })
    }

    /// Writes a piece of a file's content, but for what is zeros in it, which the file is made
    /// of; pieces may come in any order, and are apart.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn write(&mut self, to: &TargetFile, offset: u64, bytes: &[u8]) -> Result<(), ReadError> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > to.size) {
            return Err(ReadError::Corrupt("a file has content beyond its end".into()));
        }
        if bytes.is_empty() {
            return Err(ReadError::Corrupt("a file has a piece without content".into()));
        }
        self.spent.bytes += PIECE_MIN.max(bytes.len() as u64);
        within(self.spent.bytes, BYTES_MAX, "bytes of content")?;
        self.done.bytes += bytes.len() as u64;
        write_data(&to.file, offset, bytes).map_err(self.failed(b""))
    }

    /// Ends a file.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn close(&mut self, file: TargetFile) -> Result<(), ReadError> {
        let TargetFile { file, meta, size: _ } = file;
        let failed = self.failed(b"");
        let set = rustix::fs::fchmod(&file, self.mode(meta, Mode::RUSR))
            .and_then(|()| rustix::fs::futimens(&file, &times(meta)));
        set.map_err(failed)
    }

    /// Makes a symbolic link, or leaves it out if it leads out of the target.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn symlink(&mut self, path: &[u8], to: &[u8], meta: TargetMeta) -> Result<(), ReadError> {
        if !link::stays_within(path, to) {
            let to = String::from_utf8_lossy(to).into_owned();
            return self.leave_out(path, &format!("a link to {to:?}, which leads out"));
        }
        let (parent, name) = self.parent(path)?;
        let made = rustix::fs::symlinkat(OsStr::from_bytes(to), &parent, name).and_then(|()| {
            rustix::fs::utimensat(&parent, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW)
        });
        made.map_err(self.failed(path))
    }

    /// Makes `path` another name of a file that was made before. Of a file alone: another name
    /// of a link would lead from there, and so perhaps out.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn hard_link(&mut self, path: &[u8], first: &[u8]) -> Result<(), ReadError> {
        let (from, from_name) = self.open_parent(first)?;
        let found = rustix::fs::statat(&from, from_name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(self.failed(first))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            let what = format!("{:?} is another name of {:?}, no file", shown(path), shown(first));
            return Err(ReadError::Corrupt(what));
        }
        let (parent, name) = self.parent(path)?;
        let linked = rustix::fs::linkat(&from, from_name, &parent, name, AtFlags::empty());
        linked.map_err(self.failed(path))
    }

    /// Notes that something is not made, and why.
    ///
    /// # Errors
    /// [`ReadError::Limit`]
    pub fn leave_out(&mut self, path: &[u8], why: &str) -> Result<(), ReadError> {
        self.count()?;
        self.done.left_out_count += 1;
        if self.done.left_out.len() < NAMED_MAX {
            // A guest chose both; they are shown to people.
            let text = format!("{}: {why}", shown(path));
            self.done.left_out.push(text.chars().filter(|c| !c.is_control()).collect());
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ReadError> {
        self.spent.entries += 1;
        within(self.spent.entries, ENTRIES_MAX, "files")
    }

    /// Gives the tree its name.
    ///
    /// # Errors
    /// [`ReadError`], also where something has come to be there; nothing is made then.
    pub fn finish(mut self) -> Result<Extracted, ReadError> {
        for (path, meta) in std::mem::take(&mut self.directories).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let mode = self.mode(meta, Mode::RWXU);
            let opened = open_beneath(&self.staging.root, &path, flags, Mode::empty());
            let set = opened.and_then(|directory| {
                rustix::fs::futimens(&directory, &times(meta))?;
                rustix::fs::fchmod(&directory, mode)
            });
            set.map_err(self.failed(path.as_os_str().as_bytes()))?;
        }
        match (self.staging.name(&self.place), self.done.left_out.pop()) {
            // It was all there was.
            (Err(Errno::NOENT), Some(what)) if self.done.entries == 0 => {
                return Err(ReadError::LeftOut(what));
            }
            (named, last) => {
                self.done.left_out.extend(last);
                named.map_err(self.failed(b""))?;
            }
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Opens the directory that a new entry goes into, and counts the entry.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), ReadError> {
        self.count()?;
        self.done.entries += 1;
        self.open_parent(path)
    }

    fn open_parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), ReadError> {
        check(path)?;
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (beneath(&path[..at]), OsStr::from_bytes(&path[at + 1..])),
            None if path.is_empty() => (PathBuf::from("."), OsStr::new(UNFINISHED)),
            None => (beneath(b""), OsStr::from_bytes(path)),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = open_beneath(&self.staging.root, &parent, flags, Mode::empty());
        Ok((parent.map_err(self.failed(path))?, name))
    }

    /// What is made is somebody's own, so the owner always has what `least` says.
    fn mode(&self, meta: TargetMeta, least: Mode) -> Mode {
        Mode::from_raw_mode(meta.mode & 0o777 & !self.umask) | least
    }

    fn failed<E: Into<io::Error>>(&self, path: &[u8]) -> impl FnOnce(E) -> ReadError + use<E> {
        let place = self.place.join(OsStr::from_bytes(path));
        move |error| {
            let doing = format!("making {}", place.display());
            ReadError::Io { doing, source: error.into() }
        }
    }
}

/// Writes all but blocks of zeros.
fn write_data(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let write = |from: usize, to: usize| {
        let data = bytes.get(from..to).unwrap_or_default();
        file.write_all_at(data, offset + from as u64)
    };
    let (mut from, mut to) = (0, 0);
    for block in bytes.chunks(BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            write(from, to)?;
            from = to + block.len();
        }
        to += block.len();
    }
    write(from, to)
}

fn times(meta: TargetMeta) -> Timestamps {
    let time = Timespec { tv_sec: meta.mtime.0, tv_nsec: meta.mtime.1.min(999_999_999).into() };
    Timestamps { last_access: time, last_modification: time }
}

fn beneath(path: &[u8]) -> PathBuf {
    match path {
        b"" => PathBuf::from(UNFINISHED),
        path => Path::new(UNFINISHED).join(OsStr::from_bytes(path)),
    }
}

fn open_beneath(
    at: &OwnedFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(at, path, flags | OFlags::NOFOLLOW, mode, resolve)
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { "it".into() } else { String::from_utf8_lossy(path).into_owned() }
}

/// Refuses a path that is not components with single slashes between them.
fn check(path: &[u8]) -> Result<(), ReadError> {
    within(path.len() as u64, PATH_MAX, "bytes in a path")?;
    let mut depth = 0;
    for part in path.split(|&byte| byte == b'/').filter(|_| !path.is_empty()) {
        depth += 1;
        let bad = matches!(part, b"" | b"." | b"..") || part.contains(&0) || part.len() > NAME_MAX;
        if bad {
            return Err(ReadError::Corrupt(format!("it has a file named {:?}", shown(path))));
        }
    }
    within(depth, DEPTH_MAX, "directories above a file")
}

#[cfg(test)]
mod tests;
