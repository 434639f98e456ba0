//! Control messages, each the JSON payload of one control frame.

use serde::{Deserialize, Serialize};

use crate::Token;

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Host to guest.
    Stdin,
    /// Guest to host; with a terminal it carries both outputs.
    Stdout,
    /// Guest to host.
    Stderr,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum AgentMessage {
    /// First message of a session.
    Hello {
        /// [`crate::VERSION`] of the agent.
        version: u16,
        /// The token from its configuration.
        token: Token,
        /// 0 for the first session of this boot, one more for each after it.
        session: u32,
    },
    /// The root is mounted and commands can run.
    Ready,
    /// Second message of a session that is not the first of this boot, after [`Self::Ready`]:
    /// commands of an earlier one that have not been told to have ended. Each waits for
    /// [`HostMessage::Resume`] or [`HostMessage::Abandon`].
    Left {
        /// Their ids.
        commands: Vec<u32>,
    },
    /// The guest could not be set up; the machine ends.
    SetupFailed {
        /// What and why, in one line.
        message: String,
    },
    /// A command runs.
    Started {
        /// Which.
        id: u32,
        /// Its process id in the guest.
        pid: u32,
    },
    /// A command ended, after the last byte of its output.
    Exited {
        /// Which.
        id: u32,
        /// How.
        status: ExitStatus,
    },
    /// The agent has consumed so many bytes of a command's standard input.
    Credit {
        /// Which command.
        id: u32,
        /// Always [`Stream::Stdin`].
        stream: Stream,
        /// How many bytes may be sent in addition.
        bytes: u32,
    },
    /// The agent is about to end the machine.
    Goodbye {
        /// Why: `requested` by the host, or the signal that the guest's programs sent.
        reason: String,
    },
    /// Last message of a session, after [`Self::Goodbye`]: what outlives the machine was written
    /// back. The host closes the connection, which the agent waits for before it ends the
    /// machine.
    WrittenBack {
        /// What was not, and why, a line each; none if all was.
        failures: Vec<String>,
    },
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum HostMessage {
    /// The token was right.
    Welcome,
    /// The session is refused, and the connection closed.
    Refused {
        /// Why, naming both versions if that is the reason.
        message: String,
    },
    /// Run a command.
    Exec(ExecRequest),
    /// Send a file or a directory with all that is in it, as [`crate::transfer`] has it, as
    /// the standard output of a command with this id.
    Fetch {
        /// The number by which both sides name it; never used twice in a boot.
        id: u32,
        /// An absolute path in the guest; a link there stands for what it leads to.
        path: String,
    },
    /// Make a file or a directory of what comes, as [`crate::transfer`] has it, as the standard
    /// input of a command with this id. A file that is there is replaced, a directory is not.
    Store {
        /// The number by which both sides name it; never used twice in a boot.
        id: u32,
        /// An absolute path in the guest, in a directory that is there.
        path: String,
        /// What it is called where `path` itself is a directory that is there.
        name: String,
    },
    /// The host has consumed so many bytes of a command's output.
    Credit {
        /// Which command.
        id: u32,
        /// Which of its outputs.
        stream: Stream,
        /// How many bytes may be sent in addition.
        bytes: u32,
    },
    /// Take up a command of an earlier session: what was kept of its outputs is sent, with
    /// credit as for a new one. Its input begins anew where it has not ended.
    Resume {
        /// Which command.
        id: u32,
    },
    /// Nobody wants a command of an earlier session any more: it gets SIGHUP, and what it
    /// still writes is thrown away.
    Abandon {
        /// Which command.
        id: u32,
    },
    /// Send a signal to the process group of a command.
    Signal {
        /// Which command.
        id: u32,
        /// Signal number of Linux on the guest's architecture.
        signal: i32,
    },
    /// The terminal's size changed.
    Resize {
        /// Which command.
        id: u32,
        /// The new size.
        size: TtySize,
    },
    /// End all commands, write back all disks and end the machine.
    Shutdown,
}

/// A command to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The number by which both sides name it; never used twice in a boot.
    pub id: u32,
    /// Program and arguments; a program without a slash is looked up in `PATH`.
    pub argv: Vec<String>,
    /// The whole environment, `KEY=VALUE`; the agent adds `HOME` and `PATH` where missing.
    pub env: Vec<String>,
    /// Working directory, made if it is not there; empty means `/`.
    pub workdir: String,
    /// As whom.
    pub user: User,
    /// Whether standard input will be sent; otherwise the command reads `/dev/null`.
    pub stdin: bool,
    /// The terminal to give it, if any.
    pub tty: Option<TtySize>,
}

/// As whom a command runs: the `User` of an image's configuration, `""`, `user`, `uid`,
/// `user:group`, `uid:gid` and mixtures. Names are looked up in the guest's `/etc/passwd`
/// and `/etc/group`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(pub String);

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ExitStatus {
    /// It exited.
    Code {
        /// 0 to 255.
        code: u8,
    },
    /// A signal ended it.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It could not be started.
    NotStarted {
        /// 126 if it is there and cannot be run, 127 if it is not there, as shells do.
        code: u8,
        /// What and why, in one line.
        message: String,
    },
}
