//! A place of a test's own: a state directory, a home, files, and a check at the end.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::janitor::shared_directory;
use crate::{Invocation, Leftovers, Setting, until};

/// How long after a program's end its last processes may take to disappear.
const GRACE: Duration = Duration::from_secs(2);

/// A place of a test's own. When it goes, everything that ran in it must be gone as well.
#[derive(Debug)]
pub struct Sandbox {
    setting: &'static Setting,
    state: PathBuf,
    files: TempDir,
    shared: bool,
    names: RefCell<Vec<String>>,
    kept: RefCell<Vec<String>>,
}

impl Sandbox {
    /// A sandbox with a state directory of its own, which does not exist yet. `None`, with a
    /// visible reason, where the program, a kernel or QEMU is missing.
    pub fn new() -> Option<Self> {
        let setting = Setting::get()?;
        let files = tempfile::tempdir().expect("make a temporary directory");
        let state = files.path().join("state");
        Some(Self::with_state(setting, state, files, false))
    }

    /// A sandbox whose state directory is shared with the other tests of this process, for
    /// images that take long to prepare. Only what bears its own names is checked at the end.
    pub fn shared() -> Option<Self> {
        let setting = Setting::get()?;
        let files = tempfile::tempdir().expect("make a temporary directory");
        let state = shared_directory().join("state");
        Some(Self::with_state(setting, state, files, true))
    }

    fn with_state(setting: &'static Setting, state: PathBuf, files: TempDir, shared: bool) -> Self {
        let (names, kept) = Default::default();
        Self { setting, state, files, shared, names, kept }
    }

    /// The program under test and what is around it.
    pub fn setting(&self) -> &'static Setting {
        self.setting
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A path for a file of the test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a file of the test's own.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, content).expect("write a file of the test");
        path
    }

    /// Writes a program of the test's own.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        microagent_tests_scripts::write(&path, text);
        path
    }

    /// The directory of a workspace.
    pub fn workspace(&self, name: &str) -> PathBuf {
        self.state.join("workspaces").join(name)
    }

    /// A call of the program with these arguments and nothing else.
    pub fn call(&self, arguments: &[&str]) -> Invocation {
        Invocation::new(self.setting, &self.state, self.files.path()).args(arguments)
    }

    /// A call of `run` with a name of its own.
    pub fn run(&self, arguments: &[&str]) -> Invocation {
        let name = self.new_name();
        self.call(&["run", "--name", &name]).named(&name).args(arguments)
    }

    /// A name for a workspace that nobody else uses.
    pub fn new_name(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// Says that a workspace is meant to stay.
    pub fn keeps(&self, name: &str) {
        self.kept.borrow_mut().push(name.to_owned());
    }

    /// Whether anything is left of what ran here.
    ///
    /// # Errors
    /// What is left.
    pub fn leftovers(&self) -> Result<(), Leftovers> {
        let kept = self.kept.borrow();
        if !self.shared {
            return Leftovers::check(&self.state, &kept);
        }
        let names = self.names.borrow();
        let mut names = names.iter().filter(|name| !kept.contains(name));
        names.try_for_each(|name| Leftovers::check_workspace(&self.state, name))
    }

    /// Fails unless everything that ran here is gone within `limit`.
    ///
    /// # Panics
    /// With what is left.
    pub fn assert_clean_within(&self, limit: Duration) {
        if let Err(left) = until(limit, || self.leftovers()) {
            // What is left would otherwise stay for ever.
            for process in crate::mentioning(self.files.path()) {
                process.signal(rustix::process::Signal::KILL);
            }
            let state = self.state.display();
            assert!(thread::panicking(), "left behind in {state} after {limit:?}:\n{left}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if thread::panicking() {
            // The failure that is under way says more; what still runs must not stay.
            for process in crate::mentioning(self.files.path()) {
                process.signal(rustix::process::Signal::KILL);
            }
            return;
        }
        self.assert_clean_within(GRACE);
    }
}
