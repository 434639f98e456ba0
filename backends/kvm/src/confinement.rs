//! What the monitor may touch: its own files, the machine's files, and nothing else.

use std::path::Path;

use microagent_backend::RunDir;
use microagent_guarded::{files_of_program, max_file_size};
use microagent_machine::{Access, Boot, MachineSpec};
use microagent_vmm_protocol::{Confinement, Tcp};

/// What the monitor at `program` may do for this machine. It narrows that further by itself
/// once it has opened what it needs.
pub(crate) fn confinement(
    program: &Path,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
) -> Confinement {
    let disks =
        |access| spec.disks.iter().filter(move |d| d.access == access).map(|d| d.path.clone());
    let mut read = files_of_program(program);
    read.extend([boot.kernel.clone(), boot.initramfs.clone()]);
    read.extend(disks(Access::ReadOnly));
    let mut write = vec![dir.path().to_owned(), "/dev/kvm".into()];
    write.extend(disks(Access::ReadWrite));
    Confinement {
        read,
        write,
        max_file_size: max_file_size(spec),
        landlock_optional: true,
        tcp: Tcp::Denied,
    }
}
