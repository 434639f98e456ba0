//! What QEMU may touch: its own files, the machine's files, and nothing else.

use std::path::{Path, PathBuf};

use microagent_backend::RunDir;
use microagent_guarded::{files_of_program, max_file_size};
use microagent_machine::{Access, Boot, MachineSpec};
use microagent_vmm_protocol::{Confinement, Tcp};

use crate::argv::Facts;
use crate::options::WayOut;
use crate::slirp;

/// What a QEMU of the distribution has beside its libraries: modules and firmware.
const SYSTEM: &[&str] = &["/usr/share/qemu", "/usr/share/seabios"];

/// What it tries locks of open files on before it sets any: without, it falls back to locks of
/// processes, which end when any descriptor of the same file is closed.
const LOCK_PROBE: &str = "/dev/null";

/// What the QEMU at `program` may do for this machine.
pub(crate) fn confinement(
    program: &Path,
    spec: &MachineSpec,
    boot: &Boot,
    dir: &RunDir,
    facts: &Facts,
) -> Confinement {
    let disks =
        |access| spec.disks.iter().filter(move |d| d.access == access).map(|d| d.path.clone());
    let mut read = files_of_program(program);
    read.extend(SYSTEM.iter().map(PathBuf::from));
    read.extend([boot.kernel.clone(), boot.initramfs.clone()]);
    read.extend(disks(Access::ReadOnly));
    let mut write = vec![dir.path().to_owned(), LOCK_PROBE.into()];
    write.extend(disks(Access::ReadWrite));
    write.extend(facts.kvm.then(|| "/dev/kvm".into()));
    let is_way_out = spec.net.is_some() && facts.way_out == WayOut::Slirp;
    read.extend(is_way_out.then(|| slirp::RESOLVER.into()));
    Confinement {
        read,
        write,
        max_file_size: max_file_size(spec),
        landlock_optional: true,
        tcp: if is_way_out { Tcp::Anywhere } else { Tcp::Denied },
    }
}
