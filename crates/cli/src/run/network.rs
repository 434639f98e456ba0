//! The network, as it was written.

use microagent_machine::Publish;
use microagent_workspace::Network;

use crate::failure::Failure;

/// What a machine gets that is asked for `mode`, with these published ports. Without a mode it
/// has a network, as people expect of what runs images: one that has none by itself would fail
/// later, and less clearly, than one that is refused where passt is missing.
pub(super) fn network(mode: Option<&str>, publish: &[String]) -> Result<Network, Failure> {
    let publish = publish.iter().map(|text| port(text)).collect::<Result<Vec<_>, _>>()?;
    match mode {
        None | Some("user") => user(publish),
        Some("isolated") if publish.is_empty() => Ok(Network::Isolated),
        Some("isolated") => {
            Err(Failure::usage("--publish needs a network, and --network isolated is none")
                .with_hint("leave out one of them"))
        }
        Some(other) => Err(Failure::usage(format!("there is no network '{other}'"))
            .with_hint("known are: user, isolated")),
    }
}

fn port(text: &str) -> Result<Publish, Failure> {
    text.parse().map_err(|e| {
        Failure::usage(format!("--publish {text}: {e}"))
            .with_hint("8080:80 is port 80 of the guest at port 8080 of 127.0.0.1")
    })
}

/// passt knows a port of the host by its number alone.
fn user(publish: Vec<Publish>) -> Result<Network, Failure> {
    for (index, one) in publish.iter().enumerate() {
        let same = |other: &&Publish| (other.host, other.protocol) == (one.host, one.protocol);
        if publish[..index].iter().any(|other| same(&other)) {
            let (host, protocol) = (one.host, one.protocol);
            return Err(Failure::usage(format!(
                "--publish opens port {host}/{protocol} of the host twice"
            )));
        }
    }
    Ok(Network::User { publish })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mode: Option<&str>, publish: &[&str]) -> Result<Network, String> {
        let publish: Vec<_> = publish.iter().map(|text| (*text).to_owned()).collect();
        network(mode, &publish).map_err(|failure| failure.message)
    }

    #[test]
    fn ports_are_published_through_a_network() {
        let check = |mode, publish: &[&str], expect: Option<usize>| {
            let got = match parse(mode, publish).unwrap() {
                Network::Isolated => None,
                Network::User { publish } => Some(publish.len()),
            };
            assert_eq!(got, expect, "{mode:?} {publish:?}");
        };
        check(None, &[], Some(0));
        check(Some("isolated"), &[], None);
        check(Some("user"), &[], Some(0));
        check(None, &["80:80"], Some(1));
        check(Some("user"), &["80:80", "80:80/udp", "81:80"], Some(3));
    }

    #[test]
    fn what_makes_no_sense() {
        let check = |mode, publish: &[&str], expect: &str| {
            assert_eq!(parse(mode, publish).unwrap_err(), expect);
        };
        let isolated = "--publish needs a network, and --network isolated is none";
        check(Some("isolated"), &["80:80"], isolated);
        check(Some("host"), &[], "there is no network 'host'");
        check(None, &["80"], "--publish 80: '80' is not [ip:]host-port:guest-port[/tcp|udp]");
        let twice = "--publish opens port 80/tcp of the host twice";
        check(None, &["80:80", "127.0.0.2:80:81"], twice);
    }
}
