//! What QEMU's events tell about a machine's end.

use serde::Deserialize;

use crate::limits::MAX_QMP_NAME;

/// What QEMU's events told so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Why it ended, once it said so.
    pub(crate) shutdown: Option<Shutdown>,
    /// How often the vCPUs were stopped.
    pub(crate) stops: u64,
}

/// Why a machine ended, by the event `SHUTDOWN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The guest asked for a reset.
    GuestReset,
    /// The guest powered itself off.
    GuestPowerOff,
    /// Somebody told QEMU to quit.
    Quit,
    /// Something else, in QEMU's word, such as `host-signal`.
    Other(String),
}

impl Shutdown {
    fn of(reason: &str) -> Self {
        match reason {
            "guest-reset" => Shutdown::GuestReset,
            "guest-shutdown" => Shutdown::GuestPowerOff,
            "host-qmp-quit" => Shutdown::Quit,
            other => Shutdown::Other(other.chars().take(MAX_QMP_NAME).collect()),
        }
    }
}

impl Events {
    /// Takes note of a line if it is an event, and says whether it was one. Events that mean
    /// nothing here, and those that no schema knows, are events all the same.
    pub(crate) fn note(&mut self, line: &[u8]) -> bool {
        let Ok(Line { event: Some(name) }) = serde_json::from_slice(line) else { return false };
        match name.as_str() {
            "SHUTDOWN" => {
                let reason = serde_json::from_slice(line).map(|r: WithReason| r.data.reason);
                self.shutdown = Some(Shutdown::of(&reason.unwrap_or_default()));
            }
            "STOP" => self.stops += 1,
            _ => {}
        }
        true
    }
}

#[derive(Deserialize)]
struct Line {
    event: Option<String>,
}

#[derive(Deserialize)]
struct WithReason {
    data: Reason,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_event() {
        let check = |line: &str, expect| {
            assert_eq!(Events::default().note(line.as_bytes()), expect, "{line}");
        };
        check(r#"{"event": "RESUME", "timestamp": {"seconds": 1}}"#, true);
        check(r#"{"event": "INVENTED_LATER", "data": [[]]}"#, true);
        check(r#"{"event": "SHUTDOWN", "data": 1}"#, true);
        check(r#"{"return": {}}"#, false);
        check(r#"{"event": 3}"#, false);
        check(r#"{"event": "STOP""#, false);
        check("", false);
        check("[]", false);
    }

    #[test]
    fn reasons() {
        let check = |reason: &str, expect| {
            let mut events = Events::default();
            let line =
                format!(r#"{{"event":"SHUTDOWN","data":{{"guest":true,"reason":"{reason}"}}}}"#);
            assert!(events.note(line.as_bytes()));
            assert_eq!(events.shutdown, Some(expect));
        };
        check("guest-reset", Shutdown::GuestReset);
        check("guest-shutdown", Shutdown::GuestPowerOff);
        check("host-qmp-quit", Shutdown::Quit);
        check("host-signal", Shutdown::Other("host-signal".into()));
        check(&"x".repeat(1000), Shutdown::Other("x".repeat(MAX_QMP_NAME)));
    }
}
