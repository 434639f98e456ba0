//! Calling the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Live, Outcome, Setting};

/// How long one call may take. Many guests share few processors under emulation.
const DEADLINE: Duration = Duration::from_secs(120);

/// A call of the program: arguments and environment, with nothing of this process's own
/// environment but `PATH`.
#[derive(Debug)]
pub struct Invocation {
    program: PathBuf,
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    env: Vec<(String, OsString)>,
    directory: PathBuf,
    stdin: Option<Input>,
    name: String,
    terminal: bool,
}

/// What the program reads.
#[derive(Debug)]
enum Input {
    Bytes(Vec<u8>),
    File(File),
    Held,
}

impl Invocation {
    pub(crate) fn new(setting: &Setting, state: &Path, files: &Path) -> Self {
        let env = [
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", files.into()),
            ("MICROAGENT_STATE_DIR", state.into()),
            ("MICROAGENT_KERNEL", setting.kernel.clone().into()),
            ("MICROAGENT_SUPERVISOR", setting.supervisor.clone().into()),
        ];
        Self {
            program: setting.program.clone(),
            wrapper: Vec::new(),
            arguments: Vec::new(),
            env: env.map(|(key, value)| (key.to_owned(), value)).into(),
            directory: files.to_owned(),
            stdin: None,
            name: String::new(),
            terminal: false,
        }
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The workspace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: &[S]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self = self.without(key);
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Unsets a variable.
    pub fn without(mut self, key: &str) -> Self {
        self.env.retain(|(known, _)| known != key);
        self
    }

    /// Has these words stand before the program: `unshare`, `script`, `sh -c`.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: &[S]) -> Self {
        self.wrapper = wrapper.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Lets it take so many KiB of its address space and no more.
    pub fn with_address_space(self, limit: u32) -> Self {
        self.under(&["sh", "-c", &format!("ulimit -v {limit} && exec \"$0\" \"$@\"")])
    }

    /// Gives it a terminal for all three streams, whose output counts as standard output.
    pub fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self.env("TERM", "xterm")
    }

    /// Feeds these bytes to standard input and closes it.
    pub fn reads(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Input::Bytes(bytes.into()));
        self
    }

    /// Gives this file as standard input.
    pub fn reads_file(mut self, file: File) -> Self {
        self.stdin = Some(Input::File(file));
        self
    }

    /// Leaves standard input open, to be written to later: [`Live::write`].
    pub fn reads_later(mut self) -> Self {
        self.stdin = Some(Input::Held);
        self
    }

    /// Starts it, in a process group of its own.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(self) -> Live {
        let line = self.line();
        let mut command = self.command();
        let (stdio, bytes) = match self.stdin {
            None => (Stdio::null(), None),
            Some(Input::File(file)) => (file.into(), None),
            Some(Input::Held) => (Stdio::piped(), None),
            Some(Input::Bytes(bytes)) => (Stdio::piped(), Some(bytes)),
        };
        command.stdin(stdio).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let child = command.spawn().expect("start the program");
        Live::new(child, line, self.name, bytes)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// Where it takes too long.
    pub fn output(self) -> Outcome {
        self.start().finish_within(DEADLINE)
    }

    /// The call as an ordinary command, for what needs streams of its own.
    pub fn command(&self) -> Command {
        let mut words = self.words();
        if self.terminal {
            let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            words = ["script", "-qefc", &line, "/dev/null"].map(OsString::from).into();
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().envs(self.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(&self.directory);
        command
    }

    fn words(&self) -> Vec<OsString> {
        let program = std::iter::once(self.program.clone().into());
        self.wrapper.iter().cloned().chain(program).chain(self.arguments.iter().cloned()).collect()
    }

    pub(crate) fn line(&self) -> String {
        self.words().iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a shell wants it.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}
