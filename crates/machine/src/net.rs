//! The network of a machine.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network device whose way out are the sockets of an unprivileged process on the host: no
/// bridge, no tap device, nothing that would take root.
///
/// The guest's side is the same for every machine, since each has a network of its own: it
/// needs no DHCP and depends on nothing that the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserNet {
    /// Ports of the host that lead to the guest; no host port twice in one protocol.
    pub publish: Vec<Publish>,
    /// Whether the guest can ask the host's own first resolver, over UDP, at
    /// [`UserNet::GATEWAY`]: for a host whose resolver listens on its loopback.
    pub resolver: bool,
}

impl UserNet {
    /// The guest's address.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 2);
    /// Where the guest sends what is not for its own network.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 1);
    /// Length of the network's prefix, in bits: the two addresses above, and no more that
    /// could be somebody's on the host's side.
    pub const PREFIX: u8 = 30;
    /// The address of the guest's device, locally administered.
    pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
    /// The address at the other end, locally administered.
    pub const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
    /// The longest packet, in bytes: what is left of 64 KiB, in steps of 4, without an
    /// Ethernet header. The longer, the fewer turns every byte takes.
    pub const MTU: u16 = 65520;
}

/// A port of the host that leads to a port of the guest; in words `[ip:]host:guest[/tcp|udp]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The address of the host at which the port is opened.
    pub address: Ipv4Addr,
    /// The port there.
    pub host: NonZeroU16,
    /// The port of the guest.
    pub guest: NonZeroU16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, host, guest, protocol } = self;
        write!(f, "{address}:{host}:{guest}/{protocol}")
    }
}

/// A text that publishes no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublish {
    /// Another form.
    #[error("'{0}' is not [ip:]host-port:guest-port[/tcp|udp]")]
    Form(String),
    /// No port.
    #[error("'{0}' is no port: 1 to 65535")]
    Port(String),
    /// No address.
    #[error("'{0}' is no IPv4 address of this host")]
    Address(String),
    /// No protocol that has ports.
    #[error("'{0}' is neither tcp nor udp")]
    Protocol(String),
}

impl FromStr for Publish {
    type Err = InvalidPublish;

    fn from_str(text: &str) -> Result<Self, InvalidPublish> {
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(InvalidPublish::Protocol(other.to_owned())),
        };
        let form = || InvalidPublish::Form(text.to_owned());
        let (host, guest) = ports.rsplit_once(':').ok_or_else(form)?;
        let (address, host) = match host.rsplit_once(':') {
            None => (Ipv4Addr::LOCALHOST, host),
            Some((address, host)) => {
                let wrong = |_| InvalidPublish::Address(address.to_owned());
                (address.parse().map_err(wrong)?, host)
            }
        };
        let port = |text: &str| text.parse().map_err(|_| InvalidPublish::Port(text.to_owned()));
        Ok(Self { address, host: port(host)?, guest: port(guest)?, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_what_is_meant() {
        let check = |text: &str, expect: &str| {
            assert_eq!(text.parse::<Publish>().unwrap().to_string(), expect, "{text}");
        };
        check("8080:80", "127.0.0.1:8080:80/tcp");
        check("8080:80/tcp", "127.0.0.1:8080:80/tcp");
        check("53:5353/udp", "127.0.0.1:53:5353/udp");
        check("0.0.0.0:1:65535", "0.0.0.0:1:65535/tcp");
        check("192.0.2.7:8080:80/udp", "192.0.2.7:8080:80/udp");
    }

    #[test]
    fn what_publishes_nothing() {
        let check = |text: &str, expect: &str| {
            assert_eq!(text.parse::<Publish>().unwrap_err().to_string(), expect, "{text}");
        };
        check("", "'' is not [ip:]host-port:guest-port[/tcp|udp]");
        check("80", "'80' is not [ip:]host-port:guest-port[/tcp|udp]");
        check("0:80", "'0' is no port: 1 to 65535");
        check("80:65536", "'65536' is no port: 1 to 65535");
        check(":80", "'' is no port: 1 to 65535");
        check("80-90:80-90", "'80-90' is no port: 1 to 65535");
        check("80:80/sctp", "'sctp' is neither tcp nor udp");
        check("localhost:80:80", "'localhost' is no IPv4 address of this host");
        check("[::1]:80:80", "'[::1]' is no IPv4 address of this host");
        check("1:2:3:4", "'1:2' is no IPv4 address of this host");
    }

    #[test]
    fn both_ends_are_in_the_network() {
        let network = |address: Ipv4Addr| u32::from(address) >> (32 - UserNet::PREFIX);
        assert_eq!(network(UserNet::ADDRESS), network(UserNet::GATEWAY));
    }
}
