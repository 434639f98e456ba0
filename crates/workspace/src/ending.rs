//! How a run ended, and what of it is reported.

use microagent_guest_protocol::ExitStatus;
use microagent_machine::MiB;
use serde::{Deserialize, Serialize};

use crate::{Footprint, Phase, ReportedMediation, ReportedOutput};

/// How a run ended whose command was begun, or whose setup was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The command ended, or could not be started.
    Command(ExitStatus),
    /// A setup command failed, and the command was not begun.
    Setup {
        /// Which, counted from 1.
        number: usize,
        /// Its text.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The time limit came first.
    TimedOut,
    /// The command ended well, but without the channel that it was to have.
    MediationBroken {
        /// Where the channel led.
        target: String,
        /// Why it was severed.
        reason: String,
    },
    /// A signal ended the machine because the command did not end for it.
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// It was left, and its command goes on.
    Left,
}

/// Exit code of a run that the time limit ended.
pub const EXIT_TIMEOUT: u8 = 124;
/// Exit code of a run that microagent or the hypervisor failed.
pub const EXIT_FAILED: u8 = 125;

impl Ending {
    /// The exit code of the program: the command's own, 128+n for a signal, 124 for the
    /// time limit, 125 for a required channel that was severed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command(status) | Self::Setup { status, .. } => status_code(status),
            Self::TimedOut => EXIT_TIMEOUT,
            Self::MediationBroken { .. } => EXIT_FAILED,
            Self::Interrupted { signal } => signal_code(*signal),
            Self::Left => 0,
        }
    }
}

fn status_code(status: &ExitStatus) -> u8 {
    match status {
        ExitStatus::Code { code } | ExitStatus::NotStarted { code, .. } => *code,
        ExitStatus::Signal { signal } => signal_code(*signal),
    }
}

/// 128 plus the signal's number, as shells report it.
pub fn signal_code(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(0).saturating_add(128)
}

/// What is reported of a run, as far as it came. Its JSON form is part of the command-line
/// interface.
#[derive(Debug, Default, Serialize)]
pub struct RunReport {
    /// The workspace's name.
    pub workspace: String,
    /// The backend that ran it.
    pub backend: Option<String>,
    /// Why that one.
    pub backend_reason: Option<String>,
    /// What the machine got.
    pub resources: ReportedResources,
    /// What it ran.
    pub image: ReportedImage,
    /// Its root disk: the workspace's own, or the shared base of a run that is not kept.
    pub rootfs_path: Option<String>,
    /// Its kernel.
    pub kernel_path: Option<String>,
    /// `stopped`, or `failed` where microagent or the hypervisor did; `running` of one that was
    /// left.
    pub final_state: &'static str,
    /// The channel to a target of the host, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mediation: Option<ReportedMediation>,
    /// What the command did.
    pub result: Option<CommandResult>,
    /// What came of the outputs that were to be put somewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ReportedOutput>,
    /// How long each step took.
    pub phases: Vec<Phase>,
    /// What memory the machine took, where that was asked for and could be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
}

/// What a machine got.
#[derive(Debug, Default, Serialize)]
pub struct ReportedResources {
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Number of vCPUs.
    pub cpus: u32,
    /// Size of the root disk in MiB, once it is known.
    pub size_mib: Option<MiB>,
}

/// Which image ran.
#[derive(Debug, Default, Serialize)]
pub struct ReportedImage {
    /// As it was asked for.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Digest of its manifest, once it is known.
    pub digest: Option<String>,
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandResult {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub exited_at: String,
    /// What the program exits with because of it.
    pub exit_code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ending: Ending, code: u8) {
        assert_eq!(ending.exit_code(), code, "{ending:?}");
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        check(Ending::Command(ExitStatus::Code { code: 7 }), 7);
        check(Ending::Command(ExitStatus::Signal { signal: 9 }), 137);
        check(Ending::Command(ExitStatus::NotStarted { code: 127, message: "".into() }), 127);
        check(Ending::Left, 0);
        check(Ending::TimedOut, 124);
        check(Ending::Interrupted { signal: 2 }, 130);
        check(Ending::MediationBroken { target: "a:1".into(), reason: "".into() }, 125);
    }
}
