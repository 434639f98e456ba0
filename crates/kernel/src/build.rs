//! Building a kernel from a source package.
//!
//! The build script and the configuration travel inside this program, so that an installed
//! one can build without a clone.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::catalogue::{Catalogue, KERNEL, Kernel};
use crate::error::KernelError;

const SCRIPT: &str = include_str!("../../../kernels/build");
const CONFIG: &str = include_str!("../../../kernels/microvm-x86_64.config");
/// The name under which the script looks for its configuration.
const CONFIG_NAME: &str = "microvm-x86_64.config";

/// The script writes a line per step, and on failure the end of the compiler's log.
const MAX_OUTPUT: u64 = 1024 * 1024;
/// As many lines of it as an error carries.
const TAIL: usize = 20;

/// What to build from.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// A kernel source tarball or tree; `None` takes the newest source package of the
    /// distribution.
    pub source: Option<PathBuf>,
}

impl Catalogue {
    /// Builds a guest kernel and installs it. Takes minutes, unless a kernel of the same
    /// inputs is in the cache. `progress` gets each line that the build writes.
    ///
    /// # Errors
    /// [`KernelError::Build`] with the end of the build's output, and what
    /// [`Catalogue::install`] says.
    pub fn build(
        &self,
        options: &BuildOptions,
        progress: impl FnMut(&str),
    ) -> Result<Kernel, KernelError> {
        let dir = tempfile::tempdir()
            .map_err(KernelError::io("create a directory in", std::env::temp_dir()))?;
        let script = dir.path().join("build");
        write(&script, SCRIPT)?;
        write(&dir.path().join(CONFIG_NAME), CONFIG)?;
        let out = dir.path().join("out");
        run(&script, &out, options, progress)?;
        self.install(&out.join(KERNEL), None)
    }
}

fn write(path: &Path, text: &str) -> Result<(), KernelError> {
    fs::write(path, text).map_err(KernelError::io("write", path))
}

fn run(
    script: &Path,
    out: &Path,
    options: &BuildOptions,
    mut progress: impl FnMut(&str),
) -> Result<(), KernelError> {
    let mut command = Command::new("bash");
    command.arg(script).arg("--out").arg(out);
    if let Some(source) = &options.source {
        command.arg("--source").arg(source);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(KernelError::io("run", "bash"))?;
    let mut tail = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        // Dropped when it has said too much: its next write then ends the script.
        for line in BufReader::new(stderr.take(MAX_OUTPUT)).split(b'\n') {
            let line = line.map_err(KernelError::io("read the output of", script))?;
            let line = String::from_utf8_lossy(&line).into_owned();
            progress(&line);
            tail.push_back(line);
            if tail.len() > TAIL {
                tail.pop_front();
            }
        }
    }
    let status = child.wait().map_err(KernelError::io("wait for", script))?;
    if status.success() {
        return Ok(());
    }
    let output = tail.into_iter().collect::<Vec<_>>().join("\n");
    Err(KernelError::Build { status: status.to_string(), output })
}

#[cfg(test)]
mod tests;
