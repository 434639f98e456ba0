//! How much of the host a machine gets.

use microagent_machine::MiB;
use serde::Serialize;

/// A named set of resources, as in `--profile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// Guest memory.
    pub memory_mib: MiB,
    /// Number of vCPUs.
    pub cpus: u32,
    /// Size of the root disk.
    pub size_mib: MiB,
}

/// Every profile, smallest first.
pub const PROFILES: [Profile; 4] = [
    Profile { name: "tiny", memory_mib: MiB(256), cpus: 1, size_mib: MiB(512) },
    Profile { name: "small", memory_mib: MiB(512), cpus: 2, size_mib: MiB(1024) },
    Profile { name: "medium", memory_mib: MiB(2048), cpus: 2, size_mib: MiB(8192) },
    Profile { name: "large", memory_mib: MiB(4096), cpus: 4, size_mib: MiB(16384) },
];

/// Memory of a machine for which nothing was said.
pub const DEFAULT_MEMORY: MiB = MiB(512);

/// Least memory that a guest is started with: below it the kernel has no room for its
/// initramfs and one program.
pub const LEAST_MEMORY: MiB = MiB(64);

/// vCPUs of a machine for which nothing was said, where the host has as many.
pub const DEFAULT_CPUS: u32 = 2;

/// What one machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Guest memory.
    pub memory_mib: MiB,
    /// Number of vCPUs.
    pub cpus: u32,
    /// Size of the root disk; `None` is the smallest whole GiB that leaves 512 MiB free.
    pub size_mib: Option<MiB>,
}

impl Resources {
    /// Puts together a profile and the single flags, which override it. What nobody said is
    /// [`DEFAULT_MEMORY`] and [`DEFAULT_CPUS`], the latter no more than `host_cpus`.
    pub fn new(
        profile: Option<Profile>,
        memory: Option<MiB>,
        cpus: Option<u32>,
        size: Option<MiB>,
        host_cpus: u32,
    ) -> Self {
        let default_cpus = DEFAULT_CPUS.min(host_cpus);
        Self {
            memory_mib: memory.or(profile.map(|p| p.memory_mib)).unwrap_or(DEFAULT_MEMORY),
            cpus: cpus.or(profile.map(|p| p.cpus)).unwrap_or(default_cpus),
            size_mib: size.or(profile.map(|p| p.size_mib)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_flags_override_the_profile() {
        let got = Resources::new(Some(PROFILES[0]), Some(MiB(300)), None, None, 8);
        let expect = Resources { memory_mib: MiB(300), cpus: 1, size_mib: Some(MiB(512)) };
        assert_eq!(got, expect);
    }

    #[test]
    fn defaults_fit_the_host() {
        let got = Resources::new(None, None, None, None, 1);
        assert_eq!(got, Resources { memory_mib: MiB(512), cpus: 1, size_mib: None });
    }
}
