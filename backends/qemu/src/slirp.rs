//! QEMU's own user network, for whoever names it: it needs no other program, and keeps nothing
//! of the host back.

use microagent_guarded::INSTALL_PASST;
use microagent_machine::{Publish, UserNet};

/// What whoever takes it must know.
pub(crate) const CAUTION: &str = "qemu:net=slirp: the guest reaches the host's loopback, and \
                                  every server there; without passt nothing keeps it back";
/// What to do where it is not there.
pub(crate) const ABSENT: &str = "this QEMU was built without its user network: install passt and \
                                 leave out net=slirp, or run with --network isolated";
/// What to do where passt is not there.
pub(crate) fn instead_of_passt() -> String {
    format!(
        "{INSTALL_PASST}; qemu:net=slirp needs no passt, and opens the host's loopback to the guest"
    )
}

/// Whom it asks for names is written there.
pub(crate) const RESOLVER: &str = "/etc/resolv.conf";

/// What precedes and what follows the rule that QEMU could not set up, in its words.
const NOT_SET_UP: (&str, char) = ("Could not set up host forwarding rule '", '\'');

/// The network as an argument. What stands for the host's resolver is the guest's gateway, as
/// with passt; two addresses more are asked for by QEMU, and are used by nobody.
pub(crate) fn netdev(net: &UserNet) -> String {
    let [address, gateway] = [UserNet::ADDRESS, UserNet::GATEWAY];
    let network = u32::from(gateway) & (u32::MAX << (32 - UserNet::PREFIX));
    let last = network | !(u32::MAX << (32 - UserNet::PREFIX));
    let [network, last] = [network, last].map(std::net::Ipv4Addr::from);
    let forward = |publish: &Publish| {
        let Publish { address: ours, host, guest, protocol } = publish;
        format!(",hostfwd={protocol}:{ours}:{host}-{address}:{guest}")
    };
    let forwards: String = net.publish.iter().map(forward).collect();
    let prefix = UserNet::PREFIX;
    format!(
        "user,id=net,ipv6=off,net={network}/{prefix},host={last},dns={gateway},\
         dhcpstart={address}{forwards}"
    )
}

/// What is said where QEMU ended because it could not open a port, by its last words.
pub(crate) fn closed_port(words: &str) -> Option<String> {
    let (_, rule) = words.split_once(NOT_SET_UP.0)?;
    let (rule, _) = rule.split_once(NOT_SET_UP.1)?;
    let (protocol, port) = rule.split_once('-')?.0.split_once(':')?;
    Some(format!("port {port}/{protocol} of the host cannot be opened"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_in_words() {
        let check = |publish: &[&str], expect: &str| {
            let publish = publish.iter().map(|text| text.parse().unwrap()).collect();
            let got = netdev(&UserNet { publish, resolver: false });
            let (always, rest) = got.split_at(got.find(",hostfwd").unwrap_or(got.len()));
            assert_eq!(
                always,
                "user,id=net,ipv6=off,net=10.255.255.0/30,host=10.255.255.3,dns=10.255.255.1,\
                 dhcpstart=10.255.255.2"
            );
            assert_eq!(rest, expect);
        };
        check(&[], "");
        let both =
            ",hostfwd=tcp:127.0.0.1:8080-10.255.255.2:80,hostfwd=udp:0.0.0.0:53-10.255.255.2:5353";
        check(&["8080:80", "0.0.0.0:53:5353/udp"], both);
    }

    #[test]
    fn ports_that_are_not_open() {
        let check = |words: &str, expect: Option<&str>| {
            assert_eq!(closed_port(words).as_deref(), expect, "{words}");
        };
        let rule = "qemu: -netdev user: Could not set up host forwarding rule \
                    'tcp:127.0.0.1:8080-10.255.255.2:80'";
        check(rule, Some("port 127.0.0.1:8080/tcp of the host cannot be opened"));
        check("Could not set up host forwarding rule 'tcp", None);
        check("", None);
    }
}
