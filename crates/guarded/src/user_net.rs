//! The way out of a user network: passt, behind a gateway that says what it is told of.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use microagent_machine::{Protocol, Publish, UserNet};
use microagent_vmm_protocol::{Fencing, GatewayReport, GatewaySpec, MAX_REPORT_LEN, VERSION};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::files::GATEWAY_LOG;
use crate::launch::{Role, died, last_words};
use crate::locate::locate;
use crate::words::one_line;

/// What stands between a guest's network device and passt.
pub const GATEWAY: Role = Role { name: "gateway", argument: "gateway", log: GATEWAY_LOG };
/// passt, which a gateway starts.
pub const PASST: Role = Role { name: "passt", argument: "gateway", log: GATEWAY_LOG };

/// What to do where there is no passt.
pub const INSTALL_PASST: &str = "install passt (Debian: apt-get install passt), or run without \
                                 a network: --network isolated";

/// The absolute path of passt.
///
/// # Errors
/// `Unavailable` where it is not in `PATH`.
pub fn locate_passt() -> Result<PathBuf> {
    locate("passt", None, INSTALL_PASST)
}

/// A gateway that was started.
#[derive(Debug)]
pub struct Gateway {
    reports: pipe::Receiver,
    publish: Vec<Publish>,
}

impl Gateway {
    pub(crate) fn new(reports: pipe::Receiver, net: &UserNet) -> Self {
        Self { reports, publish: net.publish.clone() }
    }

    /// Waits until passt has opened its ports; its process id.
    ///
    /// # Errors
    /// `Conflict` for a port that cannot be opened, `Unavailable` where passt does not run.
    pub async fn ready(self, dir: &RunDir) -> Result<u32> {
        let mut line = Vec::new();
        let mut from = BufReader::new(self.reports).take(MAX_REPORT_LEN as u64);
        let read: io::Result<_> = from.read_until(b'\n', &mut line).await;
        read.map_err(|e| Error::io("read from the gateway", e))?;
        if line.is_empty() {
            return Err(died(GATEWAY, &last_words(dir, GATEWAY)));
        }
        match serde_json::from_slice(&line) {
            Ok(GatewayReport::Ready { pid }) => Ok(pid),
            Ok(GatewayReport::Failed { message }) => Err(refused(&message, &self.publish)),
            Err(e) => {
                let what = "the gateway reported what is no report";
                Err(Error::new(ErrorKind::Protocol, what).with_source(e))
            }
        }
    }
}

/// There is no network, for this reason.
fn refused(message: &str, publish: &[Publish]) -> Error {
    let message = one_line(message);
    let named = publish.iter().find(|publish| message.contains(&ports(publish)));
    match named.filter(|_| message.contains("bind")) {
        Some(Publish { address, host, protocol, .. }) => {
            let what = format!("port {address}:{host}/{protocol} of the host cannot be opened");
            let hint = match host.get() {
                ..1024 => "choose another: it is in use, or only root may open it",
                _ => "choose another: it is in use, or the address is none of this host",
            };
            Error::new(ErrorKind::Conflict, what).with_hint(hint)
        }
        None => Error::new(ErrorKind::Unavailable, format!("there is no network: {message}"))
            .with_hint("run without a network: --network isolated"),
    }
}

/// What a gateway for this network is told.
pub(crate) fn gateway_spec(passt: &Path, net: &UserNet, attached: bool) -> GatewaySpec {
    let udp = net.publish.iter().filter(|p| p.protocol == Protocol::Udp);
    GatewaySpec {
        version: VERSION,
        program: passt.to_owned(),
        args: arguments(net),
        attached,
        fencing: Fencing {
            address: UserNet::ADDRESS,
            gateway: UserNet::GATEWAY,
            udp: udp.map(|publish| publish.guest.get()).collect(),
            resolver: net.resolver,
        },
    }
}

/// The two ends of the socket between a gateway and a network device.
pub(crate) fn ends() -> Result<(OwnedFd, OwnedFd)> {
    let ends = UnixStream::pair().map_err(|e| Error::io("make a pair of sockets", e))?;
    Ok((ends.0.into(), ends.1.into()))
}

/// The arguments of passt. All that it would find out of the host's interfaces is said, so that
/// it needs none of them: a host without a network has guests that reach as little.
fn arguments(net: &UserNet) -> Vec<String> {
    let [address, gateway] = [UserNet::ADDRESS, UserNet::GATEWAY].map(|a| a.to_string());
    let prefix = UserNet::PREFIX.to_string();
    let mac = UserNet::GATEWAY_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let mut args = vec!["--foreground", "--quiet", "--ipv4-only", "--no-dhcp"];
    args.extend(["--interface", "lo", "--mac-addr", &mac]);
    args.extend(["--address", &address, "--netmask", &prefix, "--gateway", &gateway]);
    match net.resolver {
        true => args.extend(["--dns-forward", &gateway]),
        false => args.extend(["--dns", "none"]),
    }
    // With it passt of 2023 does not know the answer to a datagram from the host's loopback.
    // The gateway's fence keeps the loopback back in any case.
    if !net.publish.iter().any(|publish| publish.protocol == Protocol::Udp) {
        args.push("--no-map-gw");
    }
    let mut args: Vec<_> = args.into_iter().map(str::to_owned).collect();
    for (option, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
        let mut published = net.publish.iter().filter(|p| p.protocol == protocol).peekable();
        if published.peek().is_none() {
            args.extend([option.to_owned(), "none".to_owned()]);
        }
        args.extend(published.flat_map(|publish| [option.to_owned(), ports(publish)]));
    }
    args
}

/// A published port in passt's words.
fn ports(publish: &Publish) -> String {
    let Publish { address, host, guest, protocol: _ } = publish;
    format!("{address}/{host}:{guest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(publish: &[&str], resolver: bool) -> UserNet {
        UserNet { publish: publish.iter().map(|text| text.parse().unwrap()).collect(), resolver }
    }

    #[test]
    fn what_passt_is_told() {
        const ALWAYS: &str = "--foreground --quiet --ipv4-only --no-dhcp --interface lo \
             --mac-addr 02:00:00:00:00:01 --address 10.255.255.2 --netmask 30 \
             --gateway 10.255.255.1";
        let check = |publish: &[&str], resolver, expect: &str| {
            let got = arguments(&net(publish, resolver)).join(" ");
            assert_eq!(got, format!("{ALWAYS} {expect}"), "{publish:?}");
        };
        check(&[], false, "--dns none --no-map-gw --tcp-ports none --udp-ports none");
        let forward = "--dns-forward 10.255.255.1 --no-map-gw";
        check(&[], true, &format!("{forward} --tcp-ports none --udp-ports none"));
        let ports = "--tcp-ports 127.0.0.1/80:8080 --tcp-ports 0.0.0.0/81:81 --udp-ports none";
        check(&["80:8080", "0.0.0.0:81:81"], false, &format!("--dns none --no-map-gw {ports}"));
        let ports = "--tcp-ports none --udp-ports 127.0.0.1/53:5353";
        check(&["53:5353/udp"], false, &format!("--dns none {ports}"));
    }

    #[test]
    fn only_udp_ports_are_answered_from() {
        let spec = gateway_spec(Path::new("/p"), &net(&["80:8080", "53:5353/udp"], true), true);
        assert_eq!((spec.fencing.udp, spec.fencing.resolver), (vec![5353], true));
    }

    #[test]
    fn why_there_is_no_network() {
        let publish = net(&["8080:80", "80:81/udp"], false).publish;
        let check = |message: &str, kind, expect: &str| {
            let error = refused(message, &publish);
            assert_eq!((error.kind, error.message.as_str()), (kind, expect), "{message}");
        };
        let bind = |option, ports| {
            format!("passt ended: Failed to bind any port for '{option} {ports}', exiting")
        };
        let conflict = ErrorKind::Conflict;
        let says = "port 127.0.0.1:8080/tcp of the host cannot be opened";
        check(&bind("-t", "127.0.0.1/8080:80"), conflict, says);
        let says = "port 127.0.0.1:80/udp of the host cannot be opened";
        check(&bind("-u", "127.0.0.1/80:81"), conflict, says);
        let says = "there is no network: passt ended: Couldn't create user namespace";
        check("passt ended: Couldn't create user namespace\n", ErrorKind::Unavailable, says);
    }
}
