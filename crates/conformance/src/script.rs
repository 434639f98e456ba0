//! What a guest is to do, and who can make such a guest.

use std::path::Path;

use microagent_machine::{Boot, DiskId};

use crate::Failure;

/// What a guest is to do: the steps in their order, then its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What it does first.
    pub steps: Vec<Step>,
    /// How it ends.
    pub end: End,
}

/// One thing that a guest does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Writes a word (printable ASCII, no spaces) and a newline to its console.
    Say(String),
    /// Writes so many dots to its console, one every few milliseconds of its own clock.
    Ticks(u32),
    /// Writes a word at the start of a disk, or says `refused`.
    Write {
        /// The disk.
        disk: DiskId,
        /// The word.
        text: String,
    },
    /// Says the first line of a disk, at most 512 bytes.
    Read {
        /// The disk.
        disk: DiskId,
    },
    /// Says `cpus=N`.
    CountCpus,
    /// Says `rng=yes` if a source of entropy of the host's is there and gives 16 bytes.
    TryRng,
    /// Connects to a port of the host, sends a word, ends its half of the connection, and
    /// says `got=` and what comes back until its end; `refused` if nobody is there.
    Call {
        /// The host's port.
        port: u32,
        /// The word.
        text: String,
    },
    /// Says `serving`, then sends one caller's bytes back to it as they come, and ends the
    /// connection when the caller has ended its half.
    Serve {
        /// The guest's port.
        port: u32,
    },
    /// Has a line run by the guest's shell, which has busybox's programs. Only for guests that
    /// are an operating system.
    Shell(String),
}

/// How a guest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not by itself.
    Never,
    /// By the call that the backend declares for an ordinary end.
    PowerOff,
    /// By a reset, or a triple fault.
    Reset,
    /// By a kernel panic.
    Panic,
}

impl Script {
    /// A guest that does nothing, for ever.
    pub fn idle() -> Self {
        Self { steps: Vec::new(), end: End::Never }
    }

    /// A guest that ends after it has done `steps`.
    pub fn new(steps: impl IntoIterator<Item = Step>, end: End) -> Self {
        Self { steps: steps.into_iter().collect(), end }
    }
}

impl Step {
    /// [`Step::Say`].
    pub fn say(word: &str) -> Self {
        Self::Say(word.to_owned())
    }

    /// [`Step::Shell`].
    pub fn shell(line: &str) -> Self {
        Self::Shell(line.to_owned())
    }
}

/// Who can make guests for a backend.
pub trait Guests: Send + Sync {
    /// What to boot so that the guest does what the script says. Files that are needed for
    /// it are made in `dir`.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] for a script that these guests cannot do.
    fn boot(&self, dir: &Path, script: &Script) -> Result<Boot, Failure>;
}
