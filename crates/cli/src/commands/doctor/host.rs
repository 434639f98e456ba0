//! What belongs to the host: space, Landlock, memory.

use std::fs;
use std::path::Path;

use microagent_guarded::landlock_works;
use microagent_machine::MiB;
use microagent_workspace::DEFAULT_MEMORY;
use rustix::fs::{Access, access, statvfs};

use super::Finding;

/// Free space below which an ordinary image and its root disk may not fit.
const LITTLE_SPACE: MiB = MiB(2048);

/// What a machine takes beside its guest's memory, and what the host needs to go on.
const MARGIN: MiB = MiB(128);

/// Whether the state directory can be written to, how much fits in, and how copies are made.
pub(super) fn state(path: &Path) -> Finding {
    let name = "state";
    let path_text = path.display();
    // It is made by the first command that needs it.
    let there = path.ancestors().find(|dir| dir.exists()).unwrap_or(path);
    if let Err(e) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let detail = format!("{} cannot be written to: {e}", there.display());
        return Finding::failed(name, detail, Some("choose another with --state-dir".into()));
    }
    let free = match statvfs(there) {
        Ok(stat) => MiB(u32::try_from((stat.f_bavail * stat.f_frsize) >> 20).unwrap_or(u32::MAX)),
        Err(e) => {
            let detail = format!("the free space of {} cannot be found out: {e}", there.display());
            return Finding::degraded(name, detail, "choose another with --state-dir");
        }
    };
    let made = if path.exists() { "" } else { " (not made yet)" };
    // Trying it takes a file without a name, which leaves nothing.
    let copies = match microagent_rootfs::can_reflink(there) {
        true => "copies share blocks (reflink)",
        false => "copies are made of the data (no reflink)",
    };
    let detail = format!("{path_text}{made}: {free} free, {copies}");
    match free < LITTLE_SPACE {
        true => {
            let remedy = format!(
                "free some: {LITTLE_SPACE} is what an image and its root disk may take; \
                 `microagent image prune` removes what is not needed"
            );
            Finding::degraded(name, detail, remedy)
        }
        false => Finding::ok(name, detail),
    }
}

/// Whether the processes of a machine can be kept from files that are none of theirs.
pub(super) fn landlock() -> Finding {
    match landlock_works() {
        true => Finding::ok("landlock", "enforced on the processes of a machine"),
        false => Finding::degraded(
            "landlock",
            "this kernel does not enforce it: a guest that breaks into its monitor can reach \
             this user's files",
            "use a kernel with Landlock, and 'landlock' in its lsm= if that is set",
        ),
    }
}

/// Whether there is room for a machine.
pub(super) fn memory() -> Finding {
    let name = "memory";
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let need = MiB(DEFAULT_MEMORY.0 + MARGIN.0);
    match available {
        None => Finding::degraded(
            name,
            "/proc/meminfo does not say what is available",
            "mount /proc, without which processes cannot be looked after either",
        ),
        Some(free) if free < need => Finding::degraded(
            name,
            format!("{free} available, a machine of {DEFAULT_MEMORY} may need {need}"),
            "end something, or give machines less with --memory",
        ),
        Some(free) => Finding::ok(name, format!("{free} available")),
    }
}

fn available(meminfo: &str) -> Option<MiB> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(MiB(u32::try_from(kib >> 10).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[test]
    fn available_memory_is_what_the_kernel_says() {
        let check = |text: &str, expect: Option<u32>| {
            assert_eq!(available(text), expect.map(MiB), "{text:?}");
        };
        check("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n", Some(2048));
        check("MemTotal: 9 kB\n", None);
        check("MemAvailable: much kB\n", None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let finding = state(&dir.path().join("a/b"));
        assert_ne!(finding.verdict, Verdict::Failed, "{finding:?}");
        assert!(finding.detail.contains("not made yet"), "{finding:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
