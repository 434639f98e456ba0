//! What an agent is told before it can talk.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::Token;

/// This run's configuration, a JSON file in a cpio archive that is appended to the
/// initramfs, so that no root disk is modified for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// [`crate::VERSION`].
    pub version: u16,
    /// What the agent must present.
    pub token: Token,
    /// The vsock port on the host to connect to.
    pub port: u32,
    /// What to do when the session is lost.
    pub on_disconnect: OnDisconnect,
    /// The call that ends the machine.
    pub power_off: PowerOff,
    /// The guest's host name.
    pub hostname: String,
    /// The network device, unless there is none.
    pub network: Option<NetworkConfig>,
    /// The disk to switch to.
    pub root: RootDisk,
    /// Further disks, mounted in this order after the root.
    pub mounts: Vec<Mount>,
    /// TCP ports of the guest's 127.0.0.1 that lead to the same port of the host's vsock.
    pub loopback_ports: Vec<u16>,
}

/// How a network device is to be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The device is the one with this address.
    pub mac: [u8; 6],
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix, in bits.
    pub prefix: u8,
    /// Where the default route leads.
    pub gateway: Ipv4Addr,
    /// The longest packet, in bytes.
    pub mtu: u16,
    /// Who is asked for names, in this order.
    pub nameservers: Vec<Ipv4Addr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
}

/// What an agent does when its session with the host is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Power off: the machine belongs to one process on the host.
    PowerOff,
    /// Let commands go on, keep the last 256 KiB of each stream, and connect again.
    Reconnect,
}

/// The call by which init ends the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerOff {
    /// `reboot(2)` with restart: the monitor exits instead.
    Reset,
    /// `reboot(2)` with power-off, by ACPI.
    Acpi,
    /// A write to the exit port of the native monitor.
    ExitPort,
}

/// The disk that becomes `/`. Disks are named by their serial numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum RootDisk {
    /// A writable ext4 of this machine's own.
    Plain {
        /// Serial number of the disk.
        disk: String,
        /// Whether to grow the file system to the size of the disk first.
        grow: bool,
    },
    /// A shared read-only ext4 under a device-mapper snapshot whose changed blocks go to
    /// a scratch disk that is thrown away.
    Layered {
        /// Serial number of the read-only base.
        base: String,
        /// Serial number of the scratch disk.
        scratch: String,
    },
}

/// A disk to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Serial number of the disk, which holds an ext4.
    pub disk: String,
    /// Where, an absolute path in the guest; made if it is not there.
    pub target: String,
    /// Whether to mount it read-only.
    pub read_only: bool,
}
