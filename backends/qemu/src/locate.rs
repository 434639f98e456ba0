//! Finding QEMU.

use std::path::{Path, PathBuf};

use microagent_backend::Result;

/// The program that is looked for.
const PROGRAM: &str = "qemu-system-x86_64";
/// What to do where there is none.
const HINT: &str = "install QEMU (Debian: apt-get install qemu-system-x86), or give the path of \
                    a qemu-system-x86_64 with --supervisor";

/// The absolute path of the QEMU that the user named, or of the first in `PATH`.
pub(crate) fn locate(named: Option<&Path>) -> Result<PathBuf> {
    microagent_guarded::locate(PROGRAM, named, HINT)
}
