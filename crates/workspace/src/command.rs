//! What is run in the guest: the image's defaults, overridden by what was asked.

use std::collections::BTreeMap;

use microagent_guest_protocol::{ExecRequest, TtySize, User};
use serde::{Deserialize, Serialize};

use crate::RunError;

/// What was asked to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandRequest {
    /// A line for the shell; the image's entrypoint is not used.
    Shell {
        /// The line.
        line: String,
    },
    /// The image's entrypoint, or one given instead of it, and arguments.
    Program {
        /// Replaces the image's entrypoint and drops its default arguments.
        entrypoint: Option<Vec<String>>,
        /// Replace the image's default arguments, unless empty.
        arguments: Vec<String>,
    },
}

/// What an image says about how it wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageDefaults {
    /// Program and first arguments.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments that a command replaces.
    pub(crate) cmd: Vec<String>,
    /// `KEY=VALUE`.
    pub(crate) env: Vec<String>,
    /// As whom; empty is root.
    pub(crate) user: String,
    /// Where; empty is `/`.
    pub(crate) workdir: String,
}

/// What was asked about how to run it, for setup commands and the command alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// Over the image's environment.
    pub(crate) env: Vec<(String, String)>,
    /// Instead of the image's user.
    pub(crate) user: Option<String>,
    /// Instead of the image's working directory.
    pub(crate) workdir: Option<String>,
    /// The shell, an absolute path in the guest.
    pub(crate) shell: String,
}

/// The argument list for `command`.
///
/// # Errors
/// Where neither the image nor the request says what to run.
pub(crate) fn argv(
    command: &CommandRequest,
    image: &ImageDefaults,
    shell: &str,
) -> Result<Vec<String>, RunError> {
    let argv: Vec<String> = match command {
        CommandRequest::Shell { line } => shell_argv(shell, line),
        CommandRequest::Program { entrypoint: Some(entrypoint), arguments } => {
            entrypoint.iter().chain(arguments).cloned().collect()
        }
        CommandRequest::Program { entrypoint: None, arguments } => {
            let tail = if arguments.is_empty() { &image.cmd } else { arguments };
            image.entrypoint.iter().chain(tail).cloned().collect()
        }
    };
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(RunError::NoCommand),
    }
}

/// The argument list by which `shell` runs `line`.
pub(crate) fn shell_argv(shell: &str, line: &str) -> Vec<String> {
    vec![shell.to_owned(), "-c".to_owned(), line.to_owned()]
}

/// The request to the agent for `argv` in these surroundings.
pub(crate) fn exec_request(
    id: u32,
    argv: Vec<String>,
    image: &ImageDefaults,
    around: &Surroundings,
    hostname: &str,
    stdin: bool,
) -> ExecRequest {
    ExecRequest {
        id,
        argv,
        env: environment(&image.env, &around.env, hostname),
        workdir: around.workdir.clone().unwrap_or_else(|| image.workdir.clone()),
        user: User(around.user.clone().unwrap_or_else(|| image.user.clone())),
        stdin,
        tty: None,
    }
}

/// The same on a terminal, if there is one. Its kind is `xterm` unless the environment says
/// another, as docker does: that is what images know.
pub(crate) fn with_terminal(mut request: ExecRequest, size: Option<TtySize>) -> ExecRequest {
    request.tty = size;
    if size.is_some() && !request.env.iter().any(|line| line.starts_with("TERM=")) {
        request.env.push("TERM=xterm".to_owned());
    }
    request
}

/// The image's environment with `over` put over it, and `HOSTNAME` where neither sets it, as
/// docker does.
fn environment(image: &[String], over: &[(String, String)], hostname: &str) -> Vec<String> {
    let mut env = BTreeMap::from([("HOSTNAME", hostname)]);
    env.extend(image.iter().filter_map(|line| line.split_once('=')));
    env.extend(over.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image(entrypoint: &str, cmd: &str) -> ImageDefaults {
        ImageDefaults { entrypoint: words(entrypoint), cmd: words(cmd), ..Default::default() }
    }

    fn program(entrypoint: Option<&str>, arguments: &str) -> CommandRequest {
        CommandRequest::Program { entrypoint: entrypoint.map(words), arguments: words(arguments) }
    }

    fn check(command: CommandRequest, image: ImageDefaults, expect: Option<&str>) {
        let got = argv(&command, &image, "/bin/sh").ok();
        assert_eq!(got, expect.map(words), "{command:?} on {image:?}");
    }

    #[test]
    fn commands_combine_with_the_image_as_docker_does() {
        let shell = CommandRequest::Shell { line: "true".into() };
        check(shell, image("/entry", "x"), Some("/bin/sh -c true"));
        check(program(None, ""), image("/entry", "x"), Some("/entry x"));
        check(program(None, "y z"), image("/entry", "x"), Some("/entry y z"));
        check(program(None, "y z"), image("", "x"), Some("y z"));
        check(program(Some("/other a"), ""), image("/entry", "x"), Some("/other a"));
        check(program(Some("/other a"), "b"), image("/entry", "x"), Some("/other a b"));
        check(program(None, ""), image("", ""), None);
    }

    #[test]
    fn a_terminal_has_a_kind() {
        let around = Surroundings { env: vec![("TERM".into(), "vt100".into())], ..plain() };
        let size = Some(TtySize { rows: 24, cols: 80 });
        let env = |around: &Surroundings, size| {
            let image = ImageDefaults::default();
            let request = exec_request(1, words("sh"), &image, around, "h", true);
            with_terminal(request, size).env
        };
        assert_eq!(env(&plain(), None), words("HOSTNAME=h"));
        assert_eq!(env(&plain(), size), words("HOSTNAME=h TERM=xterm"));
        assert_eq!(env(&around, size), words("HOSTNAME=h TERM=vt100"));
    }

    fn plain() -> Surroundings {
        Surroundings::default()
    }

    #[test]
    fn the_environment_is_laid_over_the_images() {
        let image = words("PATH=/bin A=1 broken");
        let over = [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "x=y".to_owned())];
        assert_eq!(environment(&image, &over, "h"), words("A=2 B=x=y HOSTNAME=h PATH=/bin"));
        let named = [("HOSTNAME".to_owned(), "n".to_owned())];
        assert_eq!(environment(&[], &named, "h"), words("HOSTNAME=n"));
    }
}
