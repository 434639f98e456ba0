//! `completion`: a script of the shell's own kind, which asks this program for the names of
//! workspaces.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::print;

/// Commands that take a name, then none.
const OF_ONE: &str =
    "start exec connect restart wait result logs events stats clone status inspect";

/// Commands that take as many as one likes.
const OF_MANY: &str = "halt stop kill pause resume delete rm";

/// What zsh is told of an argument of the default kind.
const ZSH_DEFAULT: &str = ":_default'";

/// Runs `microagent completion`.
pub(crate) fn completion(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "microagent", &mut script);
    print(&with_names(shell, &String::from_utf8_lossy(&script)));
    0
}

fn with_names(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}{}", bash()),
        Shell::Fish => format!("{script}{}", fish()),
        Shell::Zsh => zsh(script),
        _ => script.to_owned(),
    }
}

/// Flags that a word follows which is no name: those of the program and of these commands.
fn flags_with_values() -> String {
    let cli = Cli::command();
    let commands = OF_ONE.split(' ').chain(OF_MANY.split(' ')).chain(["cp", "artifacts"]);
    let commands = commands.filter_map(|name| cli.find_subcommand(name));
    let commands =
        commands.flat_map(|command| [command].into_iter().chain(command.get_subcommands()));
    let mut flags = BTreeSet::new();
    for argument in [&cli].into_iter().chain(commands).flat_map(clap::Command::get_arguments) {
        if argument.get_action().takes_values() {
            flags.extend(argument.get_short().map(|short| format!("-{short}")));
            flags.extend(argument.get_long().map(|long| format!("--{long}")));
        }
    }
    flags.into_iter().collect::<Vec<_>>().join("|")
}

/// The command may stand behind flags of the program's. What the generated function found is
/// kept where no name is due.
fn bash() -> String {
    let (one, many) = (OF_ONE.replace(' ', "|"), OF_MANY.replace(' ', "|"));
    let flags = flags_with_values();
    format!(
        r#"
_microagent_with_names() {{
    _microagent "$@"
    local word="${{COMP_WORDS[COMP_CWORD]}}" at=1 many='' names='' before
    while [[ $at -lt $COMP_CWORD && "${{COMP_WORDS[at]}}" == -* ]]; do
        [[ "${{COMP_WORDS[at]}}" == --state-dir ]] && at=$((at + 1))
        [[ "${{COMP_WORDS[at]}}" == = ]] && at=$((at + 1))
        at=$((at + 1))
    done
    [[ $at -lt $COMP_CWORD && "$word" != -* ]] || return 0
    case "${{COMP_WORDS[COMP_CWORD - 1]}}" in
        {flags}) return 0 ;;
    esac
    case "${{COMP_WORDS[at]}}" in
        {one}) ;;
        {many}) many=1 ;;
        cp)
            [[ "$word" != *[:/]* && "${{COMP_WORDS[COMP_CWORD - 1]}}" != : ]] || return 0
            names="$(microagent list --quiet 2>/dev/null)"
            mapfile -t COMPREPLY < <(compgen -S : -W "$names" -- "$word"; compgen -f -- "$word")
            compopt -o nospace 2>/dev/null
            return 0
            ;;
        artifacts)
            at=$((at + 1))
            [[ $at -lt $COMP_CWORD ]] || return 0
            ;;
        *) return 0 ;;
    esac
    names="$(microagent list --quiet 2>/dev/null)"
    if [[ -z $many ]]; then
        for before in "${{COMP_WORDS[@]:at + 1:COMP_CWORD - at - 1}}"; do
            [[ $'\n'"$names"$'\n' == *$'\n'"$before"$'\n'* ]] && return 0
        done
    fi
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
}}
complete -F _microagent_with_names -o bashdefault -o default microagent
"#
    )
}

fn fish() -> String {
    let names = "(microagent list --quiet 2>/dev/null)";
    let seen = "__fish_seen_subcommand_from";
    format!(
        "complete -c microagent -n '{seen} {OF_ONE} {OF_MANY}' -f -a '{names}'\n\
         complete -c microagent -n '{seen} artifacts; and {seen} list ls get' -f -a '{names}'\n\
         complete -c microagent -n '{seen} cp' -F \
         -a '(microagent list --quiet 2>/dev/null | string replace -r \\$ :)'\n"
    )
}

/// The arguments that the generated script describes as workspaces, or as something in one.
fn zsh(script: &str) -> String {
    let named = |line: &str| {
        let function = match () {
            () if line.contains("The workspace") => "_microagent_workspaces",
            () if line.contains("NAME\\:/PATH") || line.contains("the other of the two") => {
                "_microagent_places"
            }
            () => return line.to_owned(),
        };
        line.replace(ZSH_DEFAULT, &format!(":{function}'"))
    };
    let script = script.lines().map(named).collect::<Vec<_>>().join("\n");
    let names = "    local -a names\n    \
                 names=(${(f)\"$(microagent list --quiet 2>/dev/null)\"})\n";
    let functions = format!(
        "_microagent_workspaces() {{\n{names}    _describe 'workspace' names\n}}\n\
         _microagent_places() {{\n{names}    compadd -S : -a names\n    _files\n}}\n"
    );
    // The first line says what the file is.
    match script.split_once('\n') {
        Some((first, rest)) => format!("{first}\n\n{functions}{rest}\n"),
        None => script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(shell: Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "microagent", &mut script);
        with_names(shell, &String::from_utf8(script).unwrap())
    }

    #[test]
    fn every_shell_asks_for_names() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            assert!(script(shell).contains("microagent list --quiet"), "{shell}");
        }
        assert!(script(Shell::Zsh).matches(":_microagent_workspaces").count() > 10);
        assert_eq!(script(Shell::Zsh).matches(":_microagent_places").count(), 2);
    }

    #[test]
    fn the_commands_are_those_that_there_are() {
        let cli = Cli::command();
        for name in OF_ONE.split(' ').chain(OF_MANY.split(' ')) {
            assert!(cli.find_subcommand(name).is_some(), "{name}");
        }
    }
}
