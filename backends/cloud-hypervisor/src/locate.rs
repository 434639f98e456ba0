//! Finding Cloud Hypervisor.

use std::env;
use std::path::{Path, PathBuf};

use microagent_backend::Result;

/// The program that is looked for.
const PROGRAM: &str = "cloud-hypervisor";
/// The variable that names another.
const VARIABLE: &str = "MICROAGENT_CLOUD_HYPERVISOR";
/// What to do where there is none.
const HINT: &str = "install Cloud Hypervisor, or give the path of one with --supervisor or in \
                    MICROAGENT_CLOUD_HYPERVISOR";

/// The absolute path of the Cloud Hypervisor that the user named, or of the one that the
/// environment does, or of the first in `PATH`.
pub(crate) fn locate(named: Option<&Path>) -> Result<PathBuf> {
    let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    microagent_guarded::locate(PROGRAM, named.or(variable.as_deref()), HINT)
}
