//! From what was asked to the machine: pure, and so golden-tested.

use std::path::{Path, PathBuf};

use microagent_guest_protocol::{
    AGENT_PORT, AgentConfig, OnDisconnect, PowerOff, RootDisk, Token, VERSION,
};
use microagent_machine::{Access, Arch, Boot, Cid, Disk, DiskId, MachineSpec, Vsock};

use crate::attach::{Attached, mounts};
use crate::network::PlannedNetwork;
use crate::resources::Resources;

/// Serial numbers of root disks, which no other disk may have.
pub(crate) const RESERVED_IDS: [&str; 3] = [ROOT, BASE, SCRATCH];

/// Serial number of a root disk of the machine's own.
const ROOT: &str = "root";
/// Serial number of a shared read-only root disk.
const BASE: &str = "base";
/// Serial number of the disk that takes what is written over a shared one.
const SCRATCH: &str = "scratch";

/// How a machine gets a root disk that it can write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootMode {
    /// A copy of the base: by reflink where the file system can, else sparse.
    Copy,
    /// The base itself, read-only, under a scratch disk that is thrown away.
    Layered,
}

/// Where a machine's root disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootFiles {
    /// [`RootMode::Copy`].
    Copy {
        /// The copy.
        disk: PathBuf,
    },
    /// [`RootMode::Layered`].
    Layered {
        /// The shared base.
        base: PathBuf,
        /// The scratch disk.
        scratch: PathBuf,
    },
}

impl RootFiles {
    fn disks(&self) -> Vec<Disk> {
        let disk = |id: &str, path: &Path, access| Disk {
            id: DiskId::new(id).expect("the three serial numbers of this file are valid"),
            path: path.to_owned(),
            access,
        };
        match self {
            Self::Copy { disk: path } => vec![disk(ROOT, path, Access::ReadWrite)],
            Self::Layered { base, scratch } => {
                vec![disk(BASE, base, Access::ReadOnly), disk(SCRATCH, scratch, Access::ReadWrite)]
            }
        }
    }

    /// What the agent is told about it.
    pub(crate) fn for_agent(&self) -> RootDisk {
        match self {
            Self::Copy { .. } => RootDisk::Plain { disk: ROOT.into(), grow: false },
            Self::Layered { .. } => {
                RootDisk::Layered { base: BASE.into(), scratch: SCRATCH.into() }
            }
        }
    }

    /// The file that a report names as the root disk.
    pub(crate) fn reported(&self) -> &Path {
        match self {
            Self::Copy { disk } => disk,
            Self::Layered { base, .. } => base,
        }
    }
}

/// The machine for these resources, this root disk, further ones behind it in this order, and
/// this network, still without a kernel.
pub(crate) fn machine_spec(
    resources: &Resources,
    root: &RootFiles,
    attached: &[Attached],
    network: &PlannedNetwork,
) -> MachineSpec {
    let mut disks = root.disks();
    disks.extend(attached.iter().map(Attached::disk));
    MachineSpec {
        arch: Arch::HOST,
        vcpus: resources.cpus,
        memory: resources.memory_mib,
        disks,
        vsock: Some(Vsock { cid: Cid::GUEST }),
        net: network.for_machine(),
        rng: true,
        boot: None,
    }
}

/// The machine of a run for which nothing was said, on a host with so many processors, to be
/// compared with what a backend can do: there are no such disks. It has no network: what that
/// takes is looked for by itself.
pub fn ordinary_machine(host_cpus: u32) -> MachineSpec {
    let root = RootFiles::Layered { base: "/base".into(), scratch: "/scratch".into() };
    let resources = Resources::new(None, None, None, None, host_cpus);
    machine_spec(&resources, &root, &[], &PlannedNetwork::default())
}

/// What the guest boots. `verbose` leaves the kernel's messages on the console.
pub(crate) fn boot(kernel: &microagent_kernel::Kernel, initramfs: PathBuf, verbose: bool) -> Boot {
    let console = if verbose { "ignore_loglevel" } else { "quiet" };
    Boot {
        kernel: kernel.path.clone(),
        format: kernel.format,
        initramfs,
        cmdline: format!("{console} {CMDLINE}"),
        device_arguments: kernel.device_arguments,
    }
}

/// Arguments that every guest gets. The processor's random numbers seed the kernel's, so that
/// the first program that wants some does not wait for the host's.
const CMDLINE: &str = "random.trust_cpu=on";

/// What the agent is told.
pub(crate) fn agent_config(
    token: Token,
    power_off: microagent_backend::PowerOff,
    hostname: String,
    root: &RootFiles,
    attached: &[Attached],
) -> AgentConfig {
    AgentConfig {
        version: VERSION,
        token,
        port: AGENT_PORT,
        on_disconnect: OnDisconnect::PowerOff,
        power_off: match power_off {
            microagent_backend::PowerOff::Reset => PowerOff::Reset,
            microagent_backend::PowerOff::Acpi => PowerOff::Acpi,
            microagent_backend::PowerOff::ExitPort => PowerOff::ExitPort,
        },
        hostname,
        network: None,
        root: root.for_agent(),
        mounts: mounts(attached),
        loopback_ports: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use microagent_machine::MiB;

    use super::*;
    use crate::resolver::HostResolver;
    use crate::{MountPoint, Network};

    fn resources() -> Resources {
        Resources { memory_mib: MiB(512), cpus: 2, size_mib: None }
    }

    fn attached() -> Vec<Attached> {
        let attached = |id: &str, target: &str, access| Attached {
            id: DiskId::new(id).unwrap(),
            path: format!("/images/{id}.ext4").into(),
            target: MountPoint::new(target).unwrap(),
            access,
        };
        vec![
            attached("inner", "/data/inner", Access::ReadWrite),
            attached("outer", "/data", Access::ReadOnly),
        ]
    }

    #[test]
    fn further_disks_come_behind_the_root_in_the_order_that_was_asked_for() {
        let root = RootFiles::Copy { disk: "/s/w/rootfs.ext4".into() };
        let spec = machine_spec(&resources(), &root, &attached(), &Default::default());
        let ids: Vec<_> = spec.disks.iter().map(|disk| disk.id.as_str()).collect();
        assert_eq!(ids, ["root", "inner", "outer"]);
    }

    fn network() -> PlannedNetwork {
        let publish = vec!["8080:80".parse().unwrap()];
        let host = || HostResolver {
            servers: vec!["192.0.2.1".parse().unwrap()],
            loopback: false,
            search: vec!["a.example".into()],
        };
        PlannedNetwork::new(&Network::User { publish }, host)
    }

    #[test]
    fn a_copy_is_one_writable_disk() {
        let root = RootFiles::Copy { disk: "/s/w/rootfs.ext4".into() };
        insta::assert_json_snapshot!(machine_spec(&resources(), &root, &[], &Default::default()));
    }

    #[test]
    fn a_layered_root_is_two_disks_of_which_the_shared_one_is_read_only() {
        let root =
            RootFiles::Layered { base: "/s/base.ext4".into(), scratch: "/s/w/scratch".into() };
        insta::assert_json_snapshot!(machine_spec(&resources(), &root, &[], &network()));
    }

    #[test]
    fn the_agent_is_told_all_that_it_needs() {
        let root =
            RootFiles::Layered { base: "/s/base.ext4".into(), scratch: "/s/w/scratch".into() };
        let reset = microagent_backend::PowerOff::Reset;
        insta::assert_json_snapshot!(AgentConfig {
            network: network().for_agent(),
            ..agent_config(Token::new([7; 16]), reset, "box".into(), &root, &attached())
        });
    }
}
