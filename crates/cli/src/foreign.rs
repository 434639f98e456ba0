//! Flags that people bring along from containers, and flags that are to come: each is
//! answered with a sentence of its own instead of "unexpected argument".

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// Flags of container engines that make no sense for a virtual machine, and what to do.
const FOREIGN: &[(&str, &str)] = &[
    ("--privileged", "leave it out: the command has a kernel of its own, and root in it is root"),
    ("--device", "devices of the host cannot be passed in"),
    ("--cap-add", "leave it out: root in the guest has every capability but restarting it"),
    ("--cap-drop", "run as another user: --user"),
    ("--pid", "leave it out: the command has a kernel of its own and sees no host process"),
    ("--ipc", "leave it out: the command has a kernel of its own"),
    ("--uts", "leave it out: the command has a kernel of its own; --hostname names it"),
    ("--userns", "leave it out: the command has a kernel of its own"),
    ("--security-opt", "leave it out: the command has a kernel of its own"),
    ("--gpus", "there is no way to give a machine a GPU"),
    (
        "--mount",
        "--bundle packs a directory of the host into a disk, --volume names one that lasts",
    ),
    ("--tmpfs", "mount it with --setup 'mount -t tmpfs tmpfs <directory>'"),
    ("--detach", DETACHED),
    ("-d", DETACHED),
];
const DETACHED: &str = "`microagent create` and `start` make a workspace that goes on by itself";

/// Flags of another command, and what to do.
const OF_CREATE: &[(&str, &str)] =
    &[("--restart", "`microagent create --restart` makes a workspace that is started again")];

/// Flags that are not built yet, and what to do until they are.
const LATER: &[(&str, &str)] =
    &[("--from-snapshot", "`microagent clone` copies a workspace that is at rest")];

/// What to say instead of the parser's error, if it is about such a flag.
pub(crate) fn explain(error: &clap::Error) -> Option<Failure> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(text)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = text.split_once('=').map_or(text.as_str(), |(flag, _)| flag);
    let among = |table: &[(&str, &'static str)]| {
        table.iter().find(|(name, _)| *name == flag).map(|(_, hint)| *hint)
    };
    let foreign = among(FOREIGN).map(|hint| ("does not apply to a microVM", hint));
    let of_create = || among(OF_CREATE).map(|hint| ("does not apply to a single run", hint));
    let later = || among(LATER).map(|hint| ("is not built yet", hint));
    let (what, hint) = foreign.or_else(of_create).or_else(later)?;
    Some(Failure::usage(format!("{flag} {what}")).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn check(arguments: &[&str], says: Option<&str>) {
        let line = ["microagent", "run"].iter().chain(arguments);
        let error = Cli::try_parse_from(line).unwrap_err();
        let said = explain(&error).map(|failure| failure.message);
        assert_eq!(said.as_deref(), says, "{arguments:?}");
    }

    #[test]
    fn foreign_and_future_flags_are_known_by_name() {
        check(&["--privileged", "x"], Some("--privileged does not apply to a microVM"));
        check(&["--cap-add", "ALL", "x"], Some("--cap-add does not apply to a microVM"));
        check(&["--pid=host", "x"], Some("--pid does not apply to a microVM"));
        check(&["-d", "x"], Some("-d does not apply to a microVM"));
        check(&["--restart", "always", "x"], Some("--restart does not apply to a single run"));
        check(&["--from-snapshot", "x"], Some("--from-snapshot is not built yet"));
        check(&["--colour", "x"], None);
    }
}
