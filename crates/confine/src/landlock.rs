//! Access to files, TCP ports, abstract sockets and signals: Landlock.
//!
//! The ruleset is made as an object first and enforced later, so that enforcing it between
//! `fork` and `exec` is one system call.
#![allow(unsafe_code)] // landlock_restrict_self has no safe binding that is async-signal-safe

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, PathFdError,
    Ruleset as Builder, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

/// The newest rights that are known here; a kernel that knows fewer enforces fewer.
const ABI_KNOWN: ABI = ABI::V9;

/// What remains allowed. Everything else that Landlock governs is denied: other files,
/// abstract sockets and, unless so chosen, TCP and signals to processes outside.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Files, and directories with all below them, that may be read and run.
    pub read: Vec<PathBuf>,
    /// Files, and directories with all below them, that may be read, written, made and
    /// removed, but not run. No devices can be made.
    pub write: Vec<PathBuf>,
    /// Directories below which anything may be listed and removed.
    pub remove: Vec<PathBuf>,
    /// Which processes may be signalled.
    pub signals: Signals,
    /// Whether TCP may be used.
    pub tcp: Tcp,
}

/// Whether TCP ports may be opened and connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tcp {
    /// None.
    #[default]
    Denied,
    /// All that the system allows.
    Anywhere,
}

/// Which processes may be signalled.
///
/// It decides about the parent-death signal as well, which the kernel sends in the name of
/// the parent: a parent that was confined apart from its child and to [`Signals::Inside`]
/// takes no child with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signals {
    /// Those that are confined by the same ruleset, and those that they confined further.
    #[default]
    Inside,
    /// All that the system lets it signal.
    Anywhere,
}

/// A ruleset that can be enforced on a thread, or nothing where the kernel has no Landlock.
#[derive(Debug)]
pub struct Ruleset {
    fd: Option<OwnedFd>,
}

/// Why a ruleset could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A path of the rules exists but cannot be opened.
    #[error("cannot open {path} to allow access to it")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused a rule.
    #[error("the kernel refuses the Landlock ruleset")]
    Refused(#[from] landlock::RulesetError),
}

impl Ruleset {
    /// Makes the ruleset; nothing is restricted yet.
    ///
    /// A path that does not exist is left out: it could only have allowed more.
    ///
    /// # Errors
    /// See [`LandlockError`]. A kernel without Landlock is not an error, see
    /// [`Ruleset::is_supported`].
    pub fn new(rules: &Rules) -> Result<Self, LandlockError> {
        let Rules { read, write, remove, signals, tcp } = rules;
        let ruleset = Builder::default()
            .handle_access(AccessFs::from_all(ABI_KNOWN))?
            .scope(scopes(*signals))?;
        let ruleset = match tcp {
            Tcp::Denied => ruleset.handle_access(AccessNet::from_all(ABI_KNOWN))?,
            Tcp::Anywhere => ruleset,
        };
        let ruleset = ruleset.create()?;
        let ruleset = allow(ruleset, read, readable())?;
        let ruleset = allow(ruleset, write, writable())?;
        let ruleset = allow(ruleset, remove, removable())?;
        Ok(Self { fd: ruleset.into() })
    }

    /// Whether the kernel has Landlock, so that [`Ruleset::restrict_self`] restricts.
    pub fn is_supported(&self) -> bool {
        self.fd.is_some()
    }

    /// Restricts this thread, and what it starts from now on, for good.
    ///
    /// Needs [`forbid_new_privileges`](crate::forbid_new_privileges) before it.
    /// Async-signal-safe.
    ///
    /// # Errors
    /// `ENOSYS` where [`Ruleset::is_supported`] says no; what the system call says.
    pub fn restrict_self(&self) -> io::Result<()> {
        let fd = self.fd.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        restrict_self(fd.as_fd())
    }
}

fn scopes(signals: Signals) -> BitFlags<Scope> {
    match signals {
        Signals::Inside => Scope::from_all(ABI_KNOWN),
        Signals::Anywhere => Scope::from_all(ABI_KNOWN) & !BitFlags::from(Scope::Signal),
    }
}

fn readable() -> BitFlags<AccessFs> {
    AccessFs::from_read(ABI_KNOWN)
}

fn writable() -> BitFlags<AccessFs> {
    AccessFs::from_all(ABI_KNOWN) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)
}

fn removable() -> BitFlags<AccessFs> {
    AccessFs::ReadDir | AccessFs::RemoveFile | AccessFs::RemoveDir
}

fn allow(
    mut ruleset: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LandlockError> {
    for path in paths {
        if let Some(fd) = open(path)? {
            let access = if is_dir(fd.as_fd(), path)? {
                access
            } else {
                access & AccessFs::from_file(ABI_KNOWN)
            };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    Ok(ruleset)
}

fn open(path: &Path) -> Result<Option<PathFd>, LandlockError> {
    match PathFd::new(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(PathFdError::OpenCall { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(PathFdError::OpenCall { source, .. }) => {
            Err(LandlockError::Path { path: path.into(), source })
        }
        Err(other) => {
            Err(LandlockError::Path { path: path.into(), source: io::Error::other(other) })
        }
    }
}

fn is_dir(fd: BorrowedFd<'_>, path: &Path) -> Result<bool, LandlockError> {
    let stat = rustix::fs::fstat(fd)
        .map_err(|e| LandlockError::Path { path: path.into(), source: e.into() })?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes a descriptor, which is valid while borrowed, and flags; it
    // reads and writes no memory of this process.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forbid_new_privileges;

    /// Landlock holds for a thread, so each case runs in one of its own.
    fn confined<T: Send + 'static>(
        rules: &Rules,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let ruleset = Ruleset::new(rules).unwrap();
        if !ruleset.is_supported() {
            eprintln!("SKIP: this kernel has no Landlock");
            let required = std::env::var("MICROAGENT_REQUIRE").unwrap_or_default();
            assert!(!["landlock", "all"].iter().any(|r| required.contains(r)), "Landlock required");
            return None;
        }
        let thread = std::thread::spawn(move || {
            forbid_new_privileges().unwrap();
            ruleset.restrict_self().unwrap();
            what()
        });
        Some(thread.join().unwrap())
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let [seen, made, hidden] = ["seen", "made", "hidden"].map(|n| dir.path().join(n));
        for path in [&seen, &made, &hidden] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("file"), "text").unwrap();
        }
        let rules =
            Rules { read: vec![seen.clone()], write: vec![made.clone()], ..Rules::default() };
        confined(&rules, move || {
            assert!(std::fs::read(seen.join("file")).is_ok());
            assert!(std::fs::write(seen.join("file"), "new").is_err());
            assert!(std::fs::read(hidden.join("file")).is_err());
            assert!(std::fs::write(made.join("other"), "new").is_ok());
            assert!(std::os::unix::net::UnixListener::bind(made.join("socket")).is_ok());
            assert!(std::fs::remove_file(made.join("file")).is_ok());
            assert!(std::fs::rename(made.join("other"), seen.join("other")).is_err());
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
        });
    }

    #[test]
    fn a_single_file_can_be_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|n| dir.path().join(n));
        std::fs::write(&one, "text").unwrap();
        std::fs::write(&two, "text").unwrap();
        let rules = Rules { write: vec![one.clone()], ..Rules::default() };
        confined(&rules, move || {
            assert!(std::fs::write(&one, "new").is_ok());
            assert!(std::fs::read(&two).is_err());
        });
    }

    #[test]
    fn tcp_can_be_allowed() {
        let rules = Rules { tcp: Tcp::Anywhere, ..Rules::default() };
        confined(&rules, || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok());
        });
    }

    #[test]
    fn absent_paths_are_left_out() {
        let rules = Rules { read: vec!["/does/not/exist".into()], ..Rules::default() };
        assert!(Ruleset::new(&rules).is_ok());
    }
}
