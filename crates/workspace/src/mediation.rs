//! The channel to a TCP target of the host that a machine may have, as it is asked for and
//! as it is reported.

use std::str::FromStr;

use microagent_guest_protocol::AGENT_PORT;
use microagent_vsock::{InvalidTarget, MediationStatus, Need, Target};
use serde::Serialize;

/// Highest port that a guest can connect to: the one above it means any port.
const LAST_PORT: u32 = u32::MAX - 1;

/// A channel that is asked for, written `PORT=HOST:PORT[,listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediationRequest {
    /// The port of the guest's vsock, at context id 2.
    pub port: u32,
    /// Where it leads.
    pub target: Target,
    /// Whether the agent listens at this port of the guest's 127.0.0.1 too.
    pub listen: bool,
    /// What it means to the machine.
    pub need: Need,
}

/// A text that asks for no channel that can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMediation {
    /// Something is missing.
    #[error("'{0}' is no channel, expected PORT=HOST:PORT[,listen]")]
    Form(String),
    /// The port of the guest is no number, or one that cannot be.
    #[error("port '{port}' is none of the guest's, expected 1 to {most}")]
    Port {
        /// As it was written.
        port: String,
        /// The highest that can be.
        most: u32,
    },
    /// The port is where the agent connects to.
    #[error("port {AGENT_PORT} is the agent's own")]
    Reserved,
    /// The target is none.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    /// Something after a comma that is not known.
    #[error("'{0}' is not known after the target, expected 'listen'")]
    Option(String),
}

impl FromStr for MediationRequest {
    type Err = InvalidMediation;

    fn from_str(text: &str) -> Result<Self, InvalidMediation> {
        let form = || InvalidMediation::Form(text.to_owned());
        let (port, rest) = text.split_once('=').ok_or_else(form)?;
        let (target, options) = rest.split_once(',').unwrap_or((rest, ""));
        let listen = match options {
            "" if !rest.ends_with(',') => false,
            "listen" => true,
            other => return Err(InvalidMediation::Option(other.to_owned())),
        };
        // A TCP port is the narrower one.
        let most = if listen { u16::MAX.into() } else { LAST_PORT };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|port| digits && (1..=most).contains(port));
        let invalid = || InvalidMediation::Port { port: port.to_owned(), most };
        match number.ok_or_else(invalid)? {
            AGENT_PORT => Err(InvalidMediation::Reserved),
            port => Ok(Self { port, target: target.parse()?, listen, need: Need::Required }),
        }
    }
}

impl MediationRequest {
    /// The ports of its loopback at which the guest's agent listens.
    pub(crate) fn loopback_port(&self) -> Option<u16> {
        u16::try_from(self.port).ok().filter(|_| self.listen)
    }
}

/// A channel as it stands in a report. Its JSON form is part of the command-line interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedMediation {
    /// The port of the guest's vsock.
    pub port: u32,
    /// Where it leads.
    pub target: String,
    /// Whether the machine is not what was asked for without it.
    pub required: bool,
    /// Whether it is at the same port of the guest's 127.0.0.1 too.
    pub listen: bool,
    /// How it is; nothing of a plan.
    #[serde(flatten)]
    pub state: Option<ReportedMediationState>,
}

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedMediationState {
    /// Whether the target was there when it was last dialled.
    pub ready: bool,
    /// Why it was severed, if it was.
    pub broken: Option<String>,
    /// Connections that have reached the target.
    pub connections: u64,
    /// Bytes that went through, both directions together.
    pub bytes: u64,
}

impl ReportedMediation {
    /// As it was asked for.
    pub(crate) fn of(request: &MediationRequest) -> Self {
        Self {
            port: request.port,
            target: request.target.to_string(),
            required: request.need == Need::Required,
            listen: request.listen,
            state: None,
        }
    }

    /// As it is now.
    pub(crate) fn with(self, status: MediationStatus) -> Self {
        let MediationStatus { ready, broken, connections, bytes } = status;
        Self { state: Some(ReportedMediationState { ready, broken, connections, bytes }), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(u32, &str, bool), &str>) {
        let parsed = text.parse::<MediationRequest>();
        let shown = parsed.map(|r| (r.port, r.target.to_string(), r.listen));
        let shown = shown.map_err(|error| error.to_string());
        let expect = expect.map(|(port, target, listen)| (port, target.to_owned(), listen));
        assert_eq!(shown, expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_port_and_a_target_are_a_channel() {
        check("5000=127.0.0.1:6379", Ok((5000, "127.0.0.1:6379", false)));
        check("5000=[::1]:6379,listen", Ok((5000, "[::1]:6379", true)));
        check("4294967294=a:1", Ok((u32::MAX - 1, "a:1", false)));
        check("65535=a:1,listen", Ok((65535, "a:1", true)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let form = "'5000' is no channel, expected PORT=HOST:PORT[,listen]";
        check("5000", Err(form));
        let all = |port| format!("port '{port}' is none of the guest's, expected 1 to 4294967294");
        for port in ["0", "", "-1", "+1", "x", "4294967295", "99999999999"] {
            check(&format!("{port}=a:1"), Err(&all(port)));
        }
        let tcp = "port '65536' is none of the guest's, expected 1 to 65535";
        check("65536=a:1,listen", Err(tcp));
        check("1024=a:1", Err("port 1024 is the agent's own"));
        check("5000=a", Err("'a' is no target, expected HOST:PORT"));
        check("5000=", Err("'' is no target, expected HOST:PORT"));
        check("5000=a:1,", Err("'' is not known after the target, expected 'listen'"));
        check("5000=a:1,x", Err("'x' is not known after the target, expected 'listen'"));
        let twice = "'listen,listen' is not known after the target, expected 'listen'";
        check("5000=a:1,listen,listen", Err(twice));
    }
}
