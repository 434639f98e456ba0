//! A kernel as a distribution packages it: nothing of a machine is built in.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use microagent_backend::PowerOff;
use microagent_conformance::LinuxGuests;
use microagent_machine::KernelFormat;

use crate::host;
use crate::modules::Modules;

/// Names a directory with `vmlinuz` and `lib/modules/RELEASE`, in which no module is compressed.
const VARIABLE: &str = "MICROAGENT_DISTRIBUTION_KERNEL";

/// What drives a machine's devices and reads its disks.
const DRIVERS: [&str; 5] =
    ["virtio_mmio", "virtio_blk", "vmw_vsock_virtio_transport", "virtio_rng", "ext4"];

/// A packaged kernel and the programs of its guests.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Guests that load the drivers of the machine's devices, then do what they are told.
    pub guests: LinuxGuests,
    /// A static busybox.
    pub busybox: PathBuf,
}

impl Distribution {
    /// What the variable `MICROAGENT_DISTRIBUTION_KERNEL` names.
    ///
    /// # Errors
    /// What is missing.
    pub fn named() -> Result<Self, String> {
        let named = env::var_os(VARIABLE).ok_or_else(|| format!("{VARIABLE} names no kernel"))?;
        let unreadable = |e| format!("{VARIABLE} {named:?}: {e}");
        let directory = fs::canonicalize(&named).map_err(unreadable)?;
        let modules = Modules::of(&tree(&directory)?)?.in_order(&DRIVERS)?;
        let (kernel, busybox) = (directory.join("vmlinuz"), host::busybox()?);
        let guests = LinuxGuests::new(kernel, KernelFormat::BzImage, busybox.clone());
        let guests = guests.with_modules(modules).with_vsock(microagent_tests_guest::program);
        Ok(Self { guests: guests.with_power_off(PowerOff::Acpi), busybox })
    }

    /// Whether this run requires it: by `distribution` or `all` in `MICROAGENT_REQUIRE`.
    pub fn is_required() -> bool {
        let words = env::var("MICROAGENT_REQUIRE").unwrap_or_default();
        words.split(',').any(|word| matches!(word.trim(), "distribution" | "all"))
    }
}

/// The one directory of the kernel's release.
fn tree(directory: &Path) -> Result<PathBuf, String> {
    let releases = directory.join("lib/modules");
    let of_releases = |what: String| format!("{}: {what}", releases.display());
    let entries = fs::read_dir(&releases).map_err(|e| of_releases(e.to_string()))?;
    let trees: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    match &*trees {
        [tree] => Ok(tree.clone()),
        others => Err(of_releases(format!("{} releases, where one is expected", others.len()))),
    }
}
