//! What a driver and a running monitor say to each other.
//!
//! On a connection to the control socket each line is one JSON object: a [`Request`] and then
//! its [`Reply`]. Any number of connections may exist, one after the other or at once. There
//! is no request to end the machine: a monitor is killed.

use serde::{Deserialize, Serialize};

/// The longest line in either direction, in bytes, its newline included.
pub const MAX_CONTROL_LINE: usize = 64 << 10;

/// A request to a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Asks for the state. What the machine needs is built before the first answer, so that
    /// the answer to the first request says that it is.
    State {
        /// [`VERSION`](crate::VERSION).
        version: u32,
    },
    /// Lets the vCPUs of a created machine run.
    Start,
    /// Holds the vCPUs of a running machine.
    Pause,
    /// Lets the vCPUs of a paused machine go on.
    Resume,
    /// Asks for counters.
    Stats,
}

/// A monitor's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The state after the request.
    State {
        /// The state.
        state: MonitorState,
        /// Whether the monitor runs under a Landlock ruleset that was seen to deny.
        landlock: bool,
    },
    /// Counters.
    Stats(MonitorStats),
    /// The request was refused and changed nothing.
    Refused(ControlError),
}

/// Where a machine is in its life, as long as it has a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorState {
    /// Built; no vCPU has run.
    Created,
    /// The vCPUs run.
    Running,
    /// The vCPUs are held.
    Paused,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlError {
    /// What kind of refusal.
    pub kind: ControlErrorKind,
    /// Why, in one line.
    pub message: String,
}

/// The kinds of refusal that a driver tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlErrorKind {
    /// Not in this state.
    InvalidState,
    /// No request of this version.
    Protocol,
    /// The system refused.
    Io,
}

/// What a monitor counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorStats {
    /// One entry for each vCPU, in order.
    pub vcpus: Vec<VcpuStats>,
    /// One entry for each virtio device, in the order of their slots.
    pub devices: Vec<DeviceStats>,
    /// From the monitor's start until the first vCPU was let run, in microseconds; `None`
    /// before that.
    pub start_us: Option<u64>,
}

/// What a vCPU was stopped by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuStats {
    /// All exits to the host's kernel, by KVM's statistics; `None` where it keeps none.
    pub exits: Option<u64>,
    /// Exits to the monitor for an access to a port.
    pub io: u64,
    /// Exits to the monitor for an access to a device's memory.
    pub mmio: u64,
}

/// What a device did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceStats {
    /// What it is, such as `block:root` or `vsock`.
    pub name: String,
    /// Chains that it was given and used.
    pub chains: u64,
    /// Bytes taken from the guest.
    pub bytes_from_guest: u64,
    /// Bytes given to the guest.
    pub bytes_to_guest: u64,
    /// What no driver in its senses does: chains and requests that make no sense.
    pub malformed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_flat_objects() {
        let line = serde_json::to_string(&Request::State { version: 1 }).unwrap();
        assert_eq!(line, r#"{"op":"state","version":1}"#);
        let reply = Reply::State { state: MonitorState::Created, landlock: true };
        let line = serde_json::to_string(&reply).unwrap();
        assert_eq!(line, r#"{"reply":"state","state":"created","landlock":true}"#);
    }

    #[test]
    fn nothing_unknown_is_taken() {
        let check = |line: &str| assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        check(r#"{"op":"reboot"}"#);
        check(r#"{"op":"state","version":1,"more":0}"#);
        check(r#"{"op":"state"}"#);
    }
}
