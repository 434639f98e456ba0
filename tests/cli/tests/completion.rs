//! What real shells offer where a name of a workspace is due.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::env;
use std::process::Command;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Sandbox, tools};

/// Longest that a shell may take, in seconds.
const WITHIN: &str = "120";

/// Calls what is registered for the program, as bash does at a tab: the script and the words of
/// the line are the arguments.
const BASH: &str = r#"
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMP_KEY=9
COMP_POINT=${#COMP_LINE}
registered=$(complete -p microagent)
[[ $registered =~ -F\ ([^ ]+) ]] || exit 98
"${BASH_REMATCH[1]}" microagent "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Prints what fish would, without what it says of each.
const FISH: &str = r#"
source $argv[1]
complete -C (string join ' ' -- $argv[2..]) | string replace -r '\t.*' ''
# Which fails where there is nothing to replace.
true
"#;

/// Types a line and a tab into a shell on a terminal, which keeps what is added to the list.
const ZSH: &str = r#"
zmodload zsh/zpty || exit 99
script=$1 setup=$2 kept=$3; shift 3
cat >$setup <<END
autoload -Uz compinit; compinit -D -u
source $script
hits=()
compadd() { local -a got; builtin compadd -O got "\$@"; hits+=(\$got); builtin compadd "\$@" }
finish() { print -rl -- \$hits >$kept; exit }
zle -N finish; bindkey '^X' finish; bindkey '^I' complete-word
print ready
END
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "source $setup"
zpty -r shell said '*ready*' || exit 98
zpty -w -n shell "${(j: :)@}"$'\t\x18'
while zpty -r shell said; do :; done
cat $kept
"#;

#[derive(Debug, Clone, Copy)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Fish => "fish",
            Self::Zsh => "zsh",
        }
    }

    /// What it offers for the last word of a line.
    fn offers(self, sandbox: &Sandbox, line: &str) -> Vec<String> {
        let script = sandbox.call(&["completion", self.name()]).output().code(0).stdout();
        let script = sandbox.write(self.name(), script);
        let mut command = Command::new("timeout");
        command.arg(WITHIN).arg(self.name());
        match self {
            Self::Bash => command.args(["--norc", "-c", BASH, "bash"]).arg(script),
            Self::Fish => command.args(["--no-config", "-c", FISH]).arg(script),
            Self::Zsh => command.args(["-f", "-c", ZSH, "zsh"]).args([
                script,
                sandbox.file("setup"),
                sandbox.file("kept"),
            ]),
        };
        let program = sandbox.setting().program.parent().unwrap().to_owned();
        let path = env::var_os("PATH").unwrap();
        let path = env::join_paths([program].into_iter().chain(env::split_paths(&path))).unwrap();
        command.args(line.split(' ')).env("PATH", path).env("HOME", sandbox.file(""));
        command.env("MICROAGENT_STATE_DIR", sandbox.state()).current_dir(sandbox.file(""));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{self:?} {line}: {}", text(&output.stderr));
        let mut offered: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
        offered.retain(|one| !one.is_empty());
        offered.sort();
        offered.dedup();
        offered
    }
}

/// A sandbox with the workspaces `box-a` and `box-b`, which are never started, and a file.
fn sandbox() -> Option<Sandbox> {
    let (image, sandbox) = (busybox()?, Sandbox::new()?);
    for name in ["box-a", "box-b"] {
        let create = ["create", "--name", name, "--image", &image.reference("plain")];
        sandbox.call(&create).output().code(0);
    }
    sandbox.write("boxed.txt", "");
    Some(sandbox)
}

fn finds_names(shell: Shell) {
    if !tools(&[shell.name(), "timeout"]) {
        return;
    }
    let Some(sandbox) = sandbox() else { return };
    let check = |line: &str, expect: &[&str]| {
        let offered = shell.offers(&sandbox, &format!("microagent {line}"));
        assert_eq!(offered, expect, "{shell:?}: {line}");
    };
    for command in ["start", "exec", "connect", "halt", "stop", "restart", "delete", "status"] {
        check(&format!("{command} b"), &["box-a", "box-b"]);
    }
    check("start ", &["box-a", "box-b"]);
    check("start box-b", &["box-b"]);
    check("--json start box-", &["box-a", "box-b"]);
    check("exec -e A box-", &["box-a", "box-b"]);
    check("halt box-a box-", &["box-a", "box-b"]);
    check("artifacts get box-", &["box-a", "box-b"]);
    check("sto", &["stop"]);
    check("start --wa", &["--wait"]);
    let places = shell.offers(&sandbox, "microagent cp box");
    for place in ["box-a", "box-b", "boxed.txt"] {
        assert!(places.iter().any(|offered| offered.starts_with(place)), "{places:?}");
    }
    for name in ["box-a", "box-b"] {
        sandbox.call(&["delete", name]).output().code(0);
    }
    check("start b", &[]);
}

#[test]
fn bash_finds_names() {
    finds_names(Shell::Bash);
}

#[test]
fn fish_finds_names() {
    finds_names(Shell::Fish);
}

#[test]
fn zsh_finds_names() {
    finds_names(Shell::Zsh);
}
