//! The program under test and what it needs of this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::requirement::{find, missing};

/// The program under test and what it needs of this machine.
#[derive(Debug)]
pub struct Setting {
    /// The `microagent` program.
    pub program: PathBuf,
    /// The kernel that guests boot.
    pub kernel: PathBuf,
    /// `qemu-system-x86_64`.
    pub qemu: PathBuf,
    /// The supervisor that runs what does not name another.
    pub supervisor: String,
}

/// Path of the program; without it `target/release/microagent` is taken.
const PROGRAM: &str = "MICROAGENT_BIN";
/// Path of the guest kernel; without it the one that is installed for this user.
const KERNEL: &str = "MICROAGENT_KERNEL";
/// The supervisor of all runs that do not name another; without it the one that works
/// everywhere.
const SUPERVISOR: &str = "MICROAGENT_TEST_SUPERVISOR";
const EVERYWHERE: &str = "qemu:accel=tcg";
/// What guests have their network by.
const PASST: &str = "passt";
/// Program of the hypervisor.
const QEMU: &str = "qemu-system-x86_64";

impl Setting {
    /// Finds it all, once. `None`, with a visible reason, where something is missing.
    pub fn get() -> Option<&'static Self> {
        static FOUND: OnceLock<Result<Setting, (&str, String)>> = OnceLock::new();
        match FOUND.get_or_init(Self::find) {
            Ok(setting) => Some(setting),
            Err((name, why)) => {
                missing(name, why);
                None
            }
        }
    }

    fn find() -> Result<Self, (&'static str, String)> {
        let program = named(PROGRAM).unwrap_or_else(built_program);
        if !program.is_file() {
            return Err(("microagent", format!("{} does not exist", program.display())));
        }
        let kernel = named(KERNEL)
            .or_else(installed_kernel)
            .ok_or_else(|| ("kernel", format!("no kernel is installed and {KERNEL} names none")))?;
        if !kernel.is_file() {
            return Err(("kernel", format!("{} does not exist", kernel.display())));
        }
        let qemu = find(QEMU).ok_or_else(|| ("qemu", format!("{QEMU} is not installed")))?;
        if find(PASST).is_none() {
            return Err(("passt", format!("{PASST} is not installed")));
        }
        let named = env::var(SUPERVISOR).ok().filter(|name| !name.is_empty());
        let supervisor = named.unwrap_or_else(|| EVERYWHERE.to_owned());
        Ok(Self { program, kernel, qemu, supervisor })
    }
}

impl Setting {
    /// The name of the backend that [`Setting::supervisor`] chooses.
    pub fn backend(&self) -> &str {
        self.supervisor.split(':').next().unwrap_or_default()
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).filter(|path| !path.is_empty())?;
    std::path::absolute(path).ok()
}

/// Where a release build puts the program: beside the directory of the test's own profile.
fn built_program() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    let target = own.ancestors().nth(3).unwrap_or(Path::new("target"));
    target.join("release/microagent")
}

fn installed_kernel() -> Option<PathBuf> {
    let kernel = env::home_dir()?.join(".microagent/kernels/x86_64/vmlinux");
    kernel.is_file().then_some(kernel)
}
