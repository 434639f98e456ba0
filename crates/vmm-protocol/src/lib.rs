//! Messages between a driver and the processes of package `microagent-vmm`; no I/O.
//!
//! A driver starts `microagent-vmm guard`, `microagent-vmm serve-vsock`, `microagent-vmm
//! serve-net` or `microagent-vmm gateway` with one JSON document on standard input (read to its
//! end) and these descriptors:
//!
//! | descriptor | guard | serve-vsock | serve-net | gateway |
//! |---|---|---|---|---|
//! | 0 | [`GuardSpec`] | [`ServeVsockSpec`] | [`ServeNetSpec`] | [`GatewaySpec`] |
//! | 1 | [`GuardReport`] lines, one JSON object each | nothing | nothing | one [`GatewayReport`] line |
//! | 2 | log | log | log | log |
//! | [`LIFE_FD`] | read end of the life pipe (attached only) | the same | the same | the same |
//! | behind those passed on | read end of the child's events ([`EventWatch`]) | | | |
//! | [`VHOST_LISTENER_FD`] | | listening Unix socket for the vhost-user frontend | the same | |
//! | [`VSOCK_LISTENER_FD`] | | listening Unix socket for host programs | | |
//! | [`SERVE_NET_FD`] | | | stream socket to the gateway | |
//! | [`GATEWAY_FD`] | | | | stream socket to the network device |
//!
//! The native monitor, `microagent-vmm run`, is started by a guard, as any hypervisor is; it
//! finds what the guard passed on ([`GuardSpec::pass`]):
//!
//! | descriptor | run |
//! |---|---|
//! | 0, 1, 2 | nothing; the guest's console; log |
//! | [`CONTROL_LISTENER_FD`] | listening Unix socket for [`Request`]s |
//! | [`VSOCK_LISTENER_FD`] | listening Unix socket for host programs, or `/dev/null` |
//! | [`SPEC_FD`] | [`MonitorSpec`], a file that is read to its end |
//! | [`NET_FD`] | socket or tap of the network device, if there is one |
//!
//! `microagent-vmm probe` reads nothing and writes one [`ProbeReport`] as a line of JSON on
//! standard output.

mod control;
mod gateway;
mod monitor;
mod probe;

pub use control::{
    ControlError, ControlErrorKind, DeviceStats, MAX_CONTROL_LINE, MonitorState, MonitorStats,
    Reply, Request, VcpuStats,
};
pub use gateway::{Fencing, GatewayReport, GatewaySpec, ServeNetSpec};
pub use monitor::{
    Announcement, EXIT_POWER_OFF, EXIT_RESET, KernelImage, MAX_MEMORY_MIB, MAX_VCPUS, MonitorDisk,
    MonitorNet, MonitorSpec, MonitorVsock, NetKind, VIRTIO_SLOTS,
};
pub use probe::{ProbeReport, ProbeVerdict};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of these messages. Both ends are built from one source, so any other version is
/// refused.
pub const VERSION: u32 = 1;

/// The read end of the pipe whose end of file ends an attached machine.
pub const LIFE_FD: i32 = 3;
/// The listening socket at which the vhost-user frontend (the hypervisor) connects.
pub const VHOST_LISTENER_FD: i32 = 4;
/// The stream socket to what is behind a network device that is served apart.
pub const SERVE_NET_FD: i32 = 5;
/// The stream socket to a guest's network device, on which each frame follows its length, 4
/// bytes in network order.
pub const GATEWAY_FD: i32 = 4;
/// The listening socket at which the native monitor takes requests.
pub const CONTROL_LISTENER_FD: i32 = 4;
/// The listening socket at which host programs ask for `CONNECT <port>`.
pub const VSOCK_LISTENER_FD: i32 = 5;
/// The file that holds the native monitor's specification.
pub const SPEC_FD: i32 = 6;
/// The host's end of the native monitor's network device.
pub const NET_FD: i32 = 7;
/// The first descriptor that a guard passes on to its child: see [`GuardSpec::pass`].
pub const FIRST_PASSED_FD: i32 = 4;
/// The most descriptors that a guard passes on.
pub const MAX_PASSED_FDS: u8 = 64;

/// The longest specification that is read, in bytes.
pub const MAX_SPEC_LEN: u64 = 1 << 20;
/// The longest report line, in bytes.
pub const MAX_REPORT_LEN: usize = 64 << 10;

/// What a guard is to start and to clean up.
///
/// The guard gives its child `/dev/null` as standard input, takes the child's standard
/// output as the guest's console, and keeps the end of its standard error as the child's
/// last words. It ignores the signals that a terminal or a service manager sends to whole
/// groups, leaves its session, and closes every inherited descriptor that the table above does
/// not name. The child runs in a session of its own and dies with its guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardSpec {
    /// [`VERSION`].
    pub version: u32,
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The run directory: working directory of guard and child.
    pub dir: PathBuf,
    /// Whether the end of file on [`LIFE_FD`] ends it.
    pub attached: bool,
    /// Absolute paths that are removed, with all below them, when an attached machine has
    /// ended because its pipe has; the run directory is one of them if it shall go.
    pub remove: Vec<PathBuf>,
    /// File name in `dir` of the console log (see `ConsoleLog` in `microagent-backend`).
    pub console: String,
    /// What the child may do.
    pub confinement: Confinement,
    /// How many descriptors, from [`FIRST_PASSED_FD`] on, the guard was given for its child,
    /// at most [`MAX_PASSED_FDS`]; the child finds them under the same numbers.
    pub pass: u8,
    /// At which of its events the child is killed, if it tells any.
    pub events: Option<EventWatch>,
}

/// A word in the events of a child at which its guard kills it: for a hypervisor that goes on
/// where a machine has to end.
///
/// The guard reads the events from the descriptor behind those that it passes on, and keeps
/// nothing of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventWatch {
    /// The word, at most [`MAX_EVENT_WORD`] bytes, wherever it stands.
    pub word: String,
}

/// The longest word that is looked for in a child's events, in bytes.
pub const MAX_EVENT_WORD: usize = 64;

/// What a started hypervisor may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// Files and directories that it may read and run: also its interpreter and libraries.
    /// What does not exist is left out.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may read, write and make sockets in.
    pub write: Vec<PathBuf>,
    /// Longest file that it may write, in bytes: its largest disk or its guest's memory,
    /// whichever is larger, since a memory file counts too.
    pub max_file_size: u64,
    /// Whether to go on where the kernel knows no Landlock; otherwise that is an error.
    pub landlock_optional: bool,
    /// Whether it may use TCP.
    pub tcp: Tcp,
}

/// Whether a hypervisor may open TCP ports and connect to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tcp {
    /// It has its network, if any, from another process.
    #[default]
    Denied,
    /// It is the guest's way out itself.
    Anywhere,
}

/// A line on a guard's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum GuardReport {
    /// The child runs.
    Started {
        /// Its process id.
        pid: u32,
        /// Whether it runs under a Landlock ruleset that was seen to deny.
        landlock: bool,
    },
    /// The child could not be started; the guard exits.
    Failed {
        /// Why, in one line.
        message: String,
    },
    /// The child ended. Also kept as [`EXIT_FILE`] in the run directory.
    ///
    /// The guard of a detached machine then exits. That of an attached one stays until the
    /// life pipe ends, since whoever holds it may yet be killed before it has cleaned up.
    Exited(ChildExit),
}

/// Where the guard records the end of its child, in the run directory.
pub const EXIT_FILE: &str = "exit.json";

/// How a guard's child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChildExit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the guard itself ended it, because the life pipe closed.
    pub by_guard: bool,
    /// Whether the word that its guard was to look for ([`EventWatch`]) was in its events.
    pub by_event: bool,
    /// Whether the console showed a kernel panic.
    pub panic: bool,
    /// The end of its standard error, at most [`MAX_LAST_WORDS`] bytes.
    pub last_words: String,
}

/// How much of a child's standard error is kept, in bytes.
pub const MAX_LAST_WORDS: usize = 4 << 10;

/// What `serve-vsock` is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeVsockSpec {
    /// [`VERSION`].
    pub version: u32,
    /// The run directory, its working directory.
    pub dir: PathBuf,
    /// File name in `dir` of the hybrid socket; a guest's connection to port `p` goes to
    /// `<socket>_<p>`.
    pub socket: String,
    /// The guest's context id.
    pub cid: u32,
    /// Whether the end of file on [`LIFE_FD`] ends it.
    pub attached: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_errors() {
        let line = r#"{"event":"started","pid":1,"landlock":true,"more":0}"#;
        assert!(serde_json::from_str::<GuardReport>(line).is_err());
    }

    #[test]
    fn reports_are_flat_objects() {
        let exit = ChildExit {
            code: Some(0),
            signal: None,
            by_guard: false,
            by_event: false,
            panic: false,
            last_words: String::new(),
        };
        let line = serde_json::to_string(&GuardReport::Exited(exit.clone())).unwrap();
        assert!(line.starts_with(r#"{"event":"exited","code":0"#), "{line}");
        assert_eq!(serde_json::from_str::<GuardReport>(&line).unwrap(), GuardReport::Exited(exit));
    }
}
