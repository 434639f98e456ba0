//! What the host has.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
};
use microagent_backend::{Error, Result};
use microagent_machine::MiB;

/// All memory that the host has.
pub fn memory() -> MiB {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram as u64 * u64::from(info.mem_unit);
    MiB(u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
}

/// Whether this kernel enforces Landlock, found by making a ruleset that nobody enters.
pub fn landlock_works() -> bool {
    let made = || -> std::result::Result<(), RulesetError> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset.handle_access(AccessFs::from_all(ABI::V1))?.create().map(drop)
    };
    made().is_ok()
}

/// Which boot of the host this is: what is known by a process's number holds within one.
///
/// # Errors
/// `Io` where `/proc` does not say.
pub fn boot_id() -> Result<String> {
    microagent_process::boot_id().map_err(|e| Error::io("find out which boot this is", e))
}
