//! The network device: brought up with what the host decided, so that neither a DHCP client
//! nor any other program is needed for it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use microagent_guest_protocol::NetworkConfig;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::failure::SetupError;
use crate::sys::ioctl::{self, InterfaceName};

const INTERFACES: &str = "/sys/class/net";
const RESOLVER: &str = "/etc/resolv.conf";
/// Where its new content stands until it is complete.
const DRAFT: &str = "/etc/.resolv.conf.new";

/// Brings up the device. Needs `/sys` and `/proc`.
pub(crate) fn bring_up(config: &NetworkConfig) -> Result<(), SetupError> {
    let mac = config.mac.map(|byte| format!("{byte:02x}")).join(":");
    let name = find(&mac).ok_or(SetupError::NoNetworkDevice { mac })?;
    configure(&name, config).map_err(SetupError::system("configure the network"))
}

/// The interface that has this address.
fn find(mac: &str) -> Option<String> {
    let mut entries = fs::read_dir(INTERFACES).ok()?.flatten();
    entries.find_map(|entry| {
        let address = fs::read_to_string(entry.path().join("address")).ok()?;
        (address.trim_end() == mac).then(|| entry.file_name().into_string().ok())?
    })
}

fn configure(name: &str, config: &NetworkConfig) -> io::Result<()> {
    without_ipv6(name)?;
    // The kernel has no longer ones.
    let name = &InterfaceName::new(name).ok_or(io::ErrorKind::InvalidData)?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let socket = socket.as_fd();
    ioctl::set_mtu(socket, name, config.mtu)?;
    ioctl::set_address(socket, name, config.address)?;
    ioctl::set_netmask(socket, name, netmask(config.prefix))?;
    ioctl::interface_up(socket, name)?;
    ioctl::add_default_route(socket, config.gateway)
}

/// There is nobody to talk to by IPv6, as programs shall see at once, and for whom to look for
/// routers and neighbours takes its time.
fn without_ipv6(name: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        // A kernel that knows none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let rest = 32u32.saturating_sub(prefix.into());
    Ipv4Addr::from_bits(u32::MAX.checked_shl(rest).unwrap_or(0))
}

/// Tells programs whom to ask for names, whatever the image has there: what it has can only
/// have been right where the image was made. Needs the root disk to be `/`.
///
/// # Errors
/// What the root disk makes of it: one that is read-only stays as it is.
pub(crate) fn write_resolver(config: &NetworkConfig) -> io::Result<()> {
    if let Err(error) = fs::create_dir("/etc")
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    // Renamed, so that a link that leads nowhere, as some distributions have, is replaced.
    fs::write(DRAFT, resolver(config))?;
    fs::rename(DRAFT, RESOLVER)
}

fn resolver(config: &NetworkConfig) -> String {
    let mut text = String::new();
    for server in &config.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !config.search.is_empty() {
        text.push_str(&format!("search {}\n", config.search.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_masks() {
        let check = |prefix, expect: &str| assert_eq!(netmask(prefix).to_string(), expect);
        check(0, "0.0.0.0");
        check(8, "255.0.0.0");
        check(30, "255.255.255.252");
        check(32, "255.255.255.255");
        check(33, "255.255.255.255");
    }

    #[test]
    fn whom_to_ask() {
        let check = |nameservers: &[&str], search: &[&str], expect: &str| {
            let config = NetworkConfig {
                mac: [2; 6],
                address: Ipv4Addr::new(10, 0, 0, 2),
                prefix: 30,
                gateway: Ipv4Addr::new(10, 0, 0, 1),
                mtu: 1500,
                nameservers: nameservers.iter().map(|text| text.parse().unwrap()).collect(),
                search: search.iter().map(|text| (*text).to_owned()).collect(),
            };
            assert_eq!(resolver(&config), expect);
        };
        check(&[], &[], "");
        check(&["10.0.0.1"], &[], "nameserver 10.0.0.1\n");
        let two = "nameserver 10.0.0.1\nnameserver 192.0.2.7\nsearch a.example b\n";
        check(&["10.0.0.1", "192.0.2.7"], &["a.example", "b"], two);
    }
}
