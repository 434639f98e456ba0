//! Whom the guest asks for names: whom the host asks.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

/// What the host's programs are told.
const FILE: &str = "/etc/resolv.conf";
/// How much of it is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The most servers that the C library asks (`MAXNS` of `resolv.h`).
const MAX_SERVERS: usize = 3;
/// The most domains that older C libraries look in (`MAXDNSRCH`), and the longest list.
const MAX_SEARCH: usize = 6;
const MAX_SEARCH_LEN: usize = 256;

/// Whom the host asks for names, as far as a guest can do the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostResolver {
    /// Servers that a guest can reach.
    pub(crate) servers: Vec<Ipv4Addr>,
    /// Whether the only one is on the host's loopback, which no guest can reach.
    pub(crate) loopback: bool,
    /// Domains in which short names are looked for.
    pub(crate) search: Vec<String>,
}

impl HostResolver {
    /// What the host has now; a host that has nothing asks nobody.
    pub(crate) fn read() -> Self {
        let mut text = Vec::new();
        match File::open(FILE).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text)) {
            Ok(_) => Self::parse(&String::from_utf8_lossy(&text)),
            Err(error) => {
                tracing::info!(%error, file = FILE, "the guest is told of no name server");
                Self::default()
            }
        }
    }

    fn parse(text: &str) -> Self {
        let (mut servers, mut search) = (Vec::<Ipv4Addr>::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    servers.extend(words.next().and_then(|w| w.parse::<Ipv4Addr>().ok()))
                }
                // The last such line counts (resolv.conf(5)).
                Some("search" | "domain") => search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        let (on_loopback, mut reachable): (Vec<_>, Vec<_>) = servers
            .into_iter()
            .partition(|server: &Ipv4Addr| server.is_loopback() || server.is_unspecified());
        reachable.truncate(MAX_SERVERS);
        Self {
            loopback: reachable.is_empty() && !on_loopback.is_empty(),
            servers: reachable,
            search: bounded(search),
        }
    }
}

fn bounded(search: Vec<String>) -> Vec<String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let mut len = 0;
    let domains = search.into_iter().filter(|domain| domain.bytes().all(known)).take(MAX_SEARCH);
    let fits = |domain: &String| {
        len += domain.len() + 1;
        len <= MAX_SEARCH_LEN
    };
    domains.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, servers: &[&str], loopback: bool, search: &[&str]) {
        let expect = HostResolver {
            servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            loopback,
            search: search.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert_eq!(HostResolver::parse(text), expect, "{text:?}");
    }

    #[test]
    fn what_a_guest_can_ask_too() {
        check("", &[], false, &[]);
        check("# nobody\nnameserver\nnameserver x\n", &[], false, &[]);
        check(
            "nameserver 192.0.2.1\nsearch a.example b\n",
            &["192.0.2.1"],
            false,
            &["a.example", "b"],
        );
        check("nameserver 127.0.0.53\noptions edns0\ndomain a\nsearch b\n", &[], true, &["b"]);
        check("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", &["192.0.2.1"], false, &[]);
        check("nameserver 2001:db8::1\nnameserver ::1\n", &[], false, &[]);
        let four = "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4";
        check(four, &["1.0.0.1", "1.0.0.2", "1.0.0.3"], false, &[]);
    }

    #[test]
    fn lists_of_domains_are_bounded() {
        let long = format!("search {} b", "a".repeat(300));
        check(&long, &[], false, &[]);
        check("search a b c d e f g h", &[], false, &["a", "b", "c", "d", "e", "f"]);
        check("search a;b c", &[], false, &["c"]);
    }
}
