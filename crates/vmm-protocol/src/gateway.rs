//! What serves a guest's network, apart from the hypervisor.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What `gateway` is to start and what it lets through.
///
/// It starts passt with its standard input as the socket to the guest and ends with it, with
/// the guest's device or with the life pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySpec {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// passt, an absolute path.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Whether the end of file on [`LIFE_FD`](crate::LIFE_FD) ends it.
    pub attached: bool,
    /// What a guest may send.
    pub fencing: Fencing,
}

/// What a guest may send through a gateway: ARP, and IPv4 from its own address to any that
/// belongs to one host, except this host's loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fencing {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The address at which the guest may answer what came through its published ports, and
    /// open no connection: passt may take it for the host's loopback.
    pub gateway: Ipv4Addr,
    /// The guest's published UDP ports.
    pub udp: Vec<u16>,
    /// Whether it may send to UDP port 53 of the gateway.
    pub resolver: bool,
}

/// The line on a gateway's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum GatewayReport {
    /// passt answers: its ports are open.
    Ready {
        /// Its process id.
        pid: u32,
    },
    /// There is no network; the gateway exits.
    Failed {
        /// Why, in one line.
        message: String,
    },
}

/// What `serve-net` is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeNetSpec {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// The address of the guest's device.
    pub mac: [u8; 6],
    /// Whether the end of file on [`LIFE_FD`](crate::LIFE_FD) ends it.
    pub attached: bool,
}
