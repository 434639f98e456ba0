//! Where a target is made before it has its name: a private directory beside its place.
//!
//! It is locked as long as somebody works in it, so that whoever makes the same target after a
//! process that was killed finds what that has left, and removes it.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;

/// Name of what is made while it is not complete.
pub(super) const UNFINISHED: &str = "it";

/// How the name of such a directory ends, after a random number of this many digits.
const SUFFIX: &str = ".partial";
const DIGITS: usize = 16;

/// Such a directory. Dropped, it is gone, with what is in it.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    /// Has the lock.
    pub(super) root: OwnedFd,
}

impl Staging {
    pub(super) fn make(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        sweep(place, name);
        let path = place.with_file_name(hidden(name, RandomState::new().build_hasher().finish()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let root = open(&path).inspect_err(|_| {
            // Nothing is in it.
            let _ = std::fs::remove_dir(&path);
        })?;
        // Without locks, what is left behind here is left for good.
        let _ = flock(&root, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { path, root })
    }

    /// Gives what was made its name, in the place of nothing.
    pub(super) fn name(&self, place: &Path) -> rustix::io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.root, UNFINISHED, CWD, place, flags) {
            Err(Errno::INVAL | Errno::NOSYS) => self.name_plainly(place),
            named => named,
        }
    }

    /// The same on file systems that cannot rename so, as NFS.
    fn name_plainly(&self, place: &Path) -> rustix::io::Result<()> {
        match rustix::fs::linkat(&self.root, UNFINISHED, CWD, place, AtFlags::empty()) {
            // A directory, or no hard links. What comes to be there now is replaced only if it
            // is an empty directory, or else a file on a file system that can do neither.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                if place.symlink_metadata().is_ok() {
                    return Err(Errno::EXIST);
                }
                rustix::fs::renameat(&self.root, UNFINISHED, CWD, place)
            }
            linked => linked,
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "left a scratch directory");
    }
}

/// Removes what processes have left that were to make the same and are gone.
fn sweep(place: &Path, name: &OsStr) {
    let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(directory.unwrap_or(Path::new("."))) else { return };
    for entry in entries.flatten().filter(|entry| is_hidden(&entry.file_name(), name)) {
        let Ok(left) = open(&entry.path()) else { continue };
        if flock(&left, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&entry.path());
        }
    }
}

fn hidden(name: &OsStr, number: u64) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{number:0DIGITS$x}{SUFFIX}"));
    hidden
}

fn is_hidden(found: &OsStr, name: &OsStr) -> bool {
    let number = found
        .as_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    number.is_some_and(|number| number.len() == DIGITS && number.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(directory: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let left = dir.path().join(hidden("out".as_ref(), 7));
        fs::create_dir_all(left.join("it/d")).unwrap();
        let others = [".out.0000000000000007.partial.kept", ".out.partial", ".out2.7.partial"];
        others.iter().for_each(|name| fs::create_dir(dir.path().join(name)).unwrap());
        let other = hidden("other".as_ref(), 7);
        fs::create_dir(dir.path().join(&other)).unwrap();
        let first = Staging::make(&place).unwrap();
        assert!(!left.exists());
        // Not that of one who is at work.
        let second = Staging::make(&place).unwrap();
        assert!(first.path.exists() && second.path.exists());
        drop((first, second));
        assert_eq!(names(dir.path()).len(), others.len() + 1);
        assert!(dir.path().join(other).exists());
    }

    #[test]
    fn a_file_system_that_renames_plainly_has_nothing_replaced_either() {
        let dir = tempfile::tempdir().unwrap();
        let check =
            |name: &str, make: &dyn Fn(&Path), there: bool, expect: rustix::io::Result<()>| {
                let place = dir.path().join(name);
                let staging = Staging::make(&place).unwrap();
                make(&staging.path.join(UNFINISHED));
                if there {
                    fs::write(&place, "old").unwrap();
                }
                assert_eq!(staging.name_plainly(&place), expect, "{name}");
                assert_eq!(fs::read(&place).is_ok_and(|text| text == b"old"), there, "{name}");
            };
        let file = |path: &Path| fs::write(path, "new").unwrap();
        let directory = |path: &Path| fs::create_dir(path).unwrap();
        check("file", &file, false, Ok(()));
        check("directory", &directory, false, Ok(()));
        check("old-file", &file, true, Err(Errno::EXIST));
        check("old-directory", &directory, true, Err(Errno::EXIST));
        assert_eq!(names(dir.path()), ["directory", "file", "old-directory", "old-file"]);
    }
}
