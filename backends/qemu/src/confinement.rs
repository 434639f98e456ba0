//! What QEMU may touch: its own files, the machine's files, and nothing else.

use std::path::{Path, PathBuf};

use microagent_backend::RunDir;
use microagent_guarded::max_file_size;
use microagent_machine::{Access, Boot, MachineSpec};
use microagent_vmm_protocol::Confinement;

/// Where a QEMU of the distribution has its libraries, modules and firmware.
const SYSTEM: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/dev/null",
    "/dev/urandom",
];
/// What stands beside the directory of a QEMU that was installed elsewhere.
const PREFIX: &[&str] = &["lib", "lib64", "share", "libexec"];
/// The one place where a program's libraries are found neither in the system's nor in its
/// own prefix.
const NIX: &str = "/nix/store";

/// What the QEMU at `program` may do for this machine.
pub(crate) fn confinement(
    program: &Path,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    kvm: bool,
) -> Confinement {
    let disks =
        |access| spec.disks.iter().filter(move |d| d.access == access).map(|d| d.path.clone());
    let mut read: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    read.extend(own(program));
    read.extend([boot.kernel.clone(), boot.initramfs.clone()]);
    read.extend(disks(Access::ReadOnly));
    let mut write = vec![dir.path().to_owned()];
    write.extend(disks(Access::ReadWrite));
    write.extend(kvm.then(|| "/dev/kvm".into()));
    Confinement { read, write, max_file_size: max_file_size(spec), landlock_optional: true }
}

/// The program itself and what was installed with it.
fn own(program: &Path) -> Vec<PathBuf> {
    let mut own = vec![program.to_owned()];
    let real = program.canonicalize().ok();
    for path in [Some(program), real.as_deref()].into_iter().flatten() {
        if path.starts_with(NIX) {
            own.push(NIX.into());
        }
        let prefix = path.parent().and_then(Path::parent).filter(|p| *p != Path::new("/usr"));
        own.extend(prefix.into_iter().flat_map(|p| PREFIX.iter().map(|name| p.join(name))));
    }
    own.extend(real);
    own.sort();
    own.dedup();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_prefix() {
        let check = |program: &str, expect: &[&str]| {
            let expect: Vec<_> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(own(Path::new(program)), expect, "{program}");
        };
        check(
            "/opt/q/bin/qemu",
            &["/opt/q/bin/qemu", "/opt/q/lib", "/opt/q/lib64", "/opt/q/libexec", "/opt/q/share"],
        );
        check("/usr/bin/no-such-qemu", &["/usr/bin/no-such-qemu"]);
        assert!(own(Path::new("/nix/store/hash/bin/qemu")).contains(&NIX.into()));
    }
}
