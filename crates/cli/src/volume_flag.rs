//! `-v` is `--verbose`, and, before `SRC:/MOUNT`, `--volume`.
//!
//! The parser knows only the first. It then takes the word for the image and all that follows
//! for the command, which is put right here: no image's name is of this form, but for those
//! that begin with a transport, and those are no volumes.

use std::ffi::OsString;

use clap::Parser;
use microagent_workspace::TRANSPORTS;

use crate::args::{Cli, Command};

/// Parses the words of a command line, the program's name first.
pub(crate) fn parse(mut words: Vec<OsString>) -> Result<Cli, clap::Error> {
    loop {
        let cli = Cli::try_parse_from(&words)?;
        let Some(at) = volume_at(&cli, &words) else { return Ok(cli) };
        let mut flag = OsString::from("--volume=");
        flag.push(words.remove(at));
        words[at - 1] = flag;
    }
}

/// Where a volume stands behind a `-v` that was taken for `--verbose`.
fn volume_at(cli: &Cli, words: &[OsString]) -> Option<usize> {
    let args = match &cli.command {
        Command::Run(args) => args,
        Command::Create(args) => &args.run,
        Command::Compare(args) => &args.run,
        _ => return None,
    };
    let first = args.positional.first().filter(|text| is_volume(text))?;
    let at = words.len().checked_sub(args.positional.len())?;
    let flagged = words.get(at.checked_sub(1)?)? == "-v" && words.get(at)? == first.as_str();
    flagged.then_some(at)
}

/// `SRC:/MOUNT[:ro|rw]`.
fn is_volume(text: &str) -> bool {
    let source = text.split(':').next().unwrap_or_default();
    let (transport, url) = (TRANSPORTS.contains(&source), text.contains("://"));
    !source.is_empty() && !transport && !url && text.contains(":/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, volumes: &[&str], positional: &[&str], verbose: bool) {
        for command in ["run", "create", "compare"] {
            let words = format!("microagent {command} {line}");
            let words = words.split(' ').map(OsString::from).collect();
            let cli = parse(words).unwrap();
            let args = match cli.command {
                Command::Run(args) => *args,
                Command::Create(args) => args.run,
                Command::Compare(args) => args.run,
                _ => panic!("{line}"),
            };
            assert_eq!(args.disks.volume, volumes, "{line}");
            assert_eq!(args.positional, positional, "{line}");
            assert_eq!(cli.global.verbose, verbose, "{line}");
        }
    }

    #[test]
    fn v_before_a_volume_is_volume_and_verbose_otherwise() {
        check("-v busybox ls", &[], &["busybox", "ls"], true);
        check("-v data:/data busybox ls", &["data:/data"], &["busybox", "ls"], false);
        check("-v a:/a:ro -v ./b.tar:/b b x", &["a:/a:ro", "./b.tar:/b"], &["b", "x"], false);
        check("-v a:/a --exec x busybox", &["a:/a"], &["busybox"], false);
        check("-v -v a:/a busybox", &["a:/a"], &["busybox"], true);
        check("-v oci:/dir:tag ls", &[], &["oci:/dir:tag", "ls"], true);
        check("-v oci:/dir ls", &[], &["oci:/dir", "ls"], true);
        check("-v oci-archive:/file ls", &[], &["oci-archive:/file", "ls"], true);
        check("-v host:5000/image ls", &[], &["host:5000/image", "ls"], true);
        check("busybox ls -v a:/b", &[], &["busybox", "ls", "-v", "a:/b"], false);
        check("--volume a:/a oci:/dir:tag", &["a:/a"], &["oci:/dir:tag"], false);
    }
}
