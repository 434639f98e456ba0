//! Where a channel leads.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::TcpStream;

/// How long a target is looked for before a machine starts.
const PROBE: Duration = Duration::from_secs(2);

/// A TCP port of a host, written `HOST:PORT` or `[ADDRESS]:PORT`. A name is looked up each
/// time it is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no target, expected HOST:PORT")]
pub struct InvalidTarget(String);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        // An address of IPv6 without brackets is told from its port by nobody.
        let ambiguous = bracketed.is_none() && host.contains([':', '[', ']']);
        let known = |c: char| c.is_ascii_graphic() && !['/', ',', '=', '@'].contains(&c);
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port @ 1..)
                if digits && !ambiguous && !host.is_empty() && host.chars().all(known) =>
            {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Target {
    /// Looks whether it is there: one connection, which is closed again, within 2 s.
    ///
    /// # Errors
    /// What looking up its name or connecting meets, `TimedOut` after that time.
    pub async fn probe(&self) -> io::Result<()> {
        self.dial(PROBE).await.map(drop)
    }

    pub(super) async fn dial(&self, within: Duration) -> io::Result<TcpStream> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let late = |_| {
            let text = format!("no answer within {} s", within.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        };
        let stream = tokio::time::timeout(within, connect).await.map_err(late)??;
        // A port that nobody listens at, chosen for this end too, connects to itself.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let shown = text.parse::<Target>().map(|target| target.to_string());
        assert_eq!(shown.ok().as_deref(), expect, "{text}");
    }

    #[test]
    fn a_host_and_a_port_are_a_target() {
        check("127.0.0.1:6379", Some("127.0.0.1:6379"));
        check("db.example:1", Some("db.example:1"));
        check("[::1]:65535", Some("[::1]:65535"));
        check("::1:80", None);
        check("[::1:80", None);
        check("localhost", None);
        check("localhost:", None);
        check("localhost:0", None);
        check("localhost:65536", None);
        check("localhost:+1", None);
        check("localhost:http", None);
        check(":80", None);
        check("[]:80", None);
        check("a b:80", None);
        check("http://a:80", None);
        check("user@a:80", None);
        check("", None);
    }

    #[tokio::test]
    async fn a_target_is_there_or_says_why_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Target = listener.local_addr().unwrap().to_string().parse().unwrap();
        target.probe().await.unwrap();
        drop(listener);
        let kind = target.probe().await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::ConnectionRefused);
    }
}
