//! Which of the user's streams a command gets, and whether it gets a terminal.

use std::io::{self, IsTerminal};

use crate::args::Global;
use crate::failure::Failure;

/// Which of the program's own streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminals {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `--tty`.
    pub(crate) tty: bool,
    /// `--interactive`.
    pub(crate) interactive: bool,
}

/// What a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Standard input is forwarded; otherwise the command reads nothing.
    pub(crate) stdin: bool,
    /// A terminal of its own, which carries both its outputs.
    pub(crate) tty: bool,
    /// The user's terminal is raw meanwhile: what is typed is the command's.
    pub(crate) raw: bool,
}

impl Terminals {
    /// Those of this process.
    pub(crate) fn here() -> Self {
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
        }
    }
}

impl Streams {
    /// What was asked for, or what suits a person that sits at all three streams. If one of
    /// them leads elsewhere, both outputs in one would not be what was meant.
    pub(crate) fn new(asked: Asked, global: &Global, on: Terminals) -> Result<Self, Failure> {
        let everywhere = on.stdin && on.stdout && on.stderr;
        let Asked { tty, interactive } = asked;
        let automatic = everywhere && !tty && !interactive && !global.json;
        let (stdin, tty) = (interactive || automatic, tty || automatic);
        if stdin && tty && !on.stdin {
            return Err(Failure::usage(
                "--tty with --interactive, and standard input is no terminal",
            )
            .with_hint("leave out --tty: the command then reads what comes on standard input"));
        }
        if stdin && tty && global.json {
            return Err(Failure::usage("--tty with --interactive, and --json shows nothing of it")
                .with_hint("leave out --json, or --interactive"));
        }
        Ok(Self { stdin, tty, raw: stdin && tty })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    /// `flags` of run; `terminals` names those of stdin (i), stdout (o), stderr (e) that are
    /// some; what the command gets, `stdin`, `tty`, `raw`, or what the refusal says.
    fn check(flags: &str, terminals: &str, expect: &str) {
        let words = ["microagent", "run"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(words.chain(["image"])).unwrap();
        let Command::Run(args) = &cli.command else { panic!("not run") };
        let [stdin, stdout, stderr] = ['i', 'o', 'e'].map(|stream| terminals.contains(stream));
        let on = Terminals { stdin, stdout, stderr };
        let asked = Asked { tty: args.tty, interactive: args.interactive };
        let text = match Streams::new(asked, &cli.global, on) {
            Ok(Streams { stdin, tty, raw }) => {
                let given = [("stdin", stdin), ("tty", tty), ("raw", raw)];
                let given = given.into_iter().filter_map(|(name, given)| given.then_some(name));
                given.collect::<Vec<_>>().join(" ")
            }
            Err(failure) => failure.message,
        };
        assert!(text == expect || (!expect.is_empty() && text.contains(expect)), "{flags}: {text}");
    }

    #[test]
    fn a_terminal_is_given_where_it_is_asked_for_or_meant() {
        check("", "ioe", "stdin tty raw");
        check("", "io", "");
        check("", "oe", "");
        check("", "", "");
        check("-i", "ioe", "stdin");
        check("-i", "", "stdin");
        check("-t", "ioe", "tty");
        check("-t", "", "tty");
        check("-it", "i", "stdin tty raw");
        check("-it", "oe", "standard input is no terminal");
        check("--json", "ioe", "");
        check("--json -i", "ioe", "stdin");
        check("--json -t", "ioe", "tty");
        check("--json -it", "ioe", "--json shows nothing");
    }
}
