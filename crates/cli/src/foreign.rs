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
    ("--mount", "directories of the host cannot be mounted"),
    ("--tmpfs", "mount it with --setup 'mount -t tmpfs tmpfs <directory>'"),
    ("--detach", "put the whole command into the background of the shell"),
    ("-d", "put the whole command into the background of the shell"),
];

/// Flags that are not built yet.
const LATER: &[&str] = &["--restart"];

/// What to say instead of the parser's error, if it is about such a flag.
pub(crate) fn explain(error: &clap::Error) -> Option<Failure> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(text)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = text.split_once('=').map_or(text.as_str(), |(flag, _)| flag);
    let foreign = FOREIGN.iter().find(|(name, _)| *name == flag);
    if let Some((_, hint)) = foreign {
        return Some(
            Failure::usage(format!("{flag} does not apply to a microVM")).with_hint(*hint),
        );
    }
    LATER.contains(&flag).then(|| {
        Failure::usage(format!("{flag} is not built yet"))
            .with_hint("`microagent run --help` lists what is")
    })
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
        check(&["--restart", "always", "x"], Some("--restart is not built yet"));
        check(&["--colour", "x"], None);
    }
}
