//! `completion`: a script of the shell's own kind, which asks this program for the names of
//! workspaces.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::print;

/// Commands whose arguments are names of workspaces.
const OF_WORKSPACES: &str = "start exec connect halt stop kill pause resume restart wait result logs events \
                             stats clone delete rm status inspect";

/// What zsh is told of such an argument.
const ZSH_NAME: [&str; 2] = [":_default'", ":_microagent_workspaces'"];

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

/// A word after such a command, unless it is a flag, is a name.
fn bash() -> String {
    let commands = OF_WORKSPACES.replace(' ', "|");
    format!(
        r#"
_microagent_with_names() {{
    _microagent "$@"
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    case "${{COMP_WORDS[1]}}" in
        {commands})
            if [[ $COMP_CWORD -gt 1 && $word != -* ]]; then
                COMPREPLY=($(compgen -W "$(microagent list --quiet 2>/dev/null)" -- "$word"))
            fi
            ;;
    esac
}}
complete -F _microagent_with_names -o bashdefault -o default microagent
"#
    )
}

fn fish() -> String {
    format!(
        "complete -c microagent -n '__fish_seen_subcommand_from {OF_WORKSPACES}' -f \
         -a '(microagent list --quiet 2>/dev/null)'\n"
    )
}

/// The arguments that the generated script describes as workspaces.
fn zsh(script: &str) -> String {
    let [default, names] = ZSH_NAME;
    let named = |line: &str| match line.contains("The workspace") {
        true => line.replace(default, names),
        false => line.to_owned(),
    };
    let script = script.lines().map(named).collect::<Vec<_>>().join("\n");
    let function = "_microagent_workspaces() {\n    local -a names\n    \
                    names=(${(f)\"$(microagent list --quiet 2>/dev/null)\"})\n    \
                    _describe 'workspace' names\n}\n";
    // The first line says what the file is.
    match script.split_once('\n') {
        Some((first, rest)) => format!("{first}\n\n{function}{rest}\n"),
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
        assert!(script(Shell::Zsh).matches(ZSH_NAME[1]).count() > 10);
    }

    #[test]
    fn the_commands_are_those_that_there_are() {
        let cli = Cli::command();
        for name in OF_WORKSPACES.split_whitespace() {
            assert!(cli.find_subcommand(name).is_some(), "{name}");
        }
    }
}
