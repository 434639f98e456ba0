//! What a root disk is made of.

use std::fmt;
use std::path::{Path, PathBuf};

use microagent_image::Source;
use microagent_machine::DiskId;

use crate::command::ImageDefaults;
use crate::{RunError, attach};

/// Where programs are looked for where no image says it, as docker has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a disk of the user's is called where it cannot be had.
const ROOT: &str = "root";

/// What a root disk is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An OCI image.
    Image {
        /// As a user writes it.
        reference: String,
        /// The same, understood.
        source: Source,
    },
    /// A copy of an ext4 image, which says nothing of how it wants to be run.
    Rootfs {
        /// The ext4 image.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { reference, .. } => f.write_str(reference),
            Self::Rootfs { path } => path.display().fmt(f),
        }
    }
}

/// Refuses a file that cannot be copied as a root disk.
///
/// # Errors
/// `Disk`
pub(crate) fn check_rootfs(path: &Path) -> Result<(), RunError> {
    let id = DiskId::new(ROOT).expect("the name of this file is valid");
    // Its copy is written to, so one that was not unmounted is mended there; nobody may write to
    // it meanwhile.
    attach::check_copied(&id, path)
}

/// How commands are run in a disk that says nothing of it: as root, in `/`.
pub(crate) fn defaults_of_rootfs() -> ImageDefaults {
    ImageDefaults { env: vec![PATH.to_owned()], ..ImageDefaults::default() }
}
