//! What can go wrong with a guest kernel.

use std::io;
use std::path::PathBuf;

/// A failure to find, read, install or build a guest kernel.
///
/// The text names the thing and the value; [`KernelError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No kernel was named and none is installed.
    #[error("no guest kernel: {} does not exist", list(.searched))]
    NotInstalled {
        /// Where one was looked for, in this order.
        searched: Vec<PathBuf>,
    },
    /// A kernel was named that is not there.
    #[error("no such kernel: {}", .path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file is not a kernel that a machine here can boot.
    #[error("{} {why}", .path.display())]
    NotBootable {
        /// The file.
        path: PathBuf,
        /// What it is instead, as the end of a sentence that begins with the path.
        why: String,
        /// What to do, where there is something.
        hint: Option<&'static str>,
    },
    /// The file is not the one that was recorded or asked for.
    #[error("{} has SHA-256 {got}, expected {expected}", .path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The sum that it should have, in lower-case hexadecimal.
        expected: String,
        /// The sum that it has.
        got: String,
    },
    /// A sum was given that is none.
    #[error("not a SHA-256 sum in hexadecimal: {value:?}")]
    BadSum {
        /// What was given.
        value: String,
    },
    /// The manifest beside a kernel cannot be used.
    #[error("manifest {}: {why}", .path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel could not be built.
    #[error("building a kernel failed ({status}): {output}")]
    Build {
        /// How the build script ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it was refused.
        #[source]
        source: io::Error,
    },
}

impl KernelError {
    /// What the user can do, with the command to run where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            KernelError::NotInstalled { .. } => Some(
                "run `microagent kernel build`, or give a kernel with --kernel PATH or \
                 `microagent kernel install --from PATH`",
            ),
            KernelError::NotBootable { hint, .. } => *hint,
            KernelError::Mismatch { .. } | KernelError::BadManifest { .. } => Some(
                "the file was changed after it was installed; run `microagent kernel build` \
                 or `microagent kernel install --from PATH` to replace it",
            ),
            KernelError::Build { .. } => Some(
                "it needs a kernel source package and a C tool chain, on Debian: apt-get \
                 install linux-source-6.1 gcc make flex bison bc xz-utils libelf-dev",
            ),
            KernelError::NotFound { .. } | KernelError::BadSum { .. } | KernelError::Io { .. } => {
                None
            }
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::NotFound if action == "open" => KernelError::NotFound { path },
            _ => KernelError::Io { action, path, source },
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
