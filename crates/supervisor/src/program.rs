//! A program that speaks the supervisor protocol, asked once for each operation.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use microagent_backend::{Error, ErrorKind};
use microagent_supervisor_protocol::{Call, LIFE_FD, MAX_ANSWER, Refusal, decode};
use rustix::fs::MemfdFlags;
use serde::de::DeserializeOwned;

use crate::process::{Failed, Ran, run};
use crate::words::{last_line, one_line};

/// A program that speaks the supervisor protocol.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    /// What it is called in errors.
    called: String,
}

/// Why there is nothing of what was asked for.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The program said why.
    Refused(Error),
    /// The program said nothing that the protocol knows.
    Silent(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) | Fault::Silent(error) => error,
        }
    }
}

impl Program {
    /// An executable that is asked by itself.
    pub(crate) fn executable(path: PathBuf, arguments: Vec<OsString>) -> Self {
        let called = format!("supervisor {}", path.display());
        Self { path, arguments, called }
    }

    /// A plugin that is loaded by `host`: a program and its arguments, to which the plugin's
    /// path is added.
    pub(crate) fn plugin(host: (&Path, &[OsString]), plugin: &Path) -> Self {
        let called = format!("plugin {}", plugin.display());
        let arguments = host.1.iter().cloned().chain([plugin.into()]).collect();
        Self { path: host.0.to_owned(), arguments, called }
    }

    /// Asks for one operation. `life` is handed on as descriptor 3.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        call: &Call,
        life: Option<OwnedFd>,
        within: Duration,
    ) -> Result<T, Fault> {
        let op = call.op().name();
        let command = self.command(call, life).map_err(Fault::Silent)?;
        let ran = run(command, MAX_ANSWER as usize, within).await;
        let ran = ran.map_err(|failed| Fault::Silent(self.failed(op, within, failed)))?;
        if !ran.log.is_empty() {
            let log = one_line(&String::from_utf8_lossy(&ran.log));
            tracing::debug!(program = self.called, op, log, "supervisor");
        }
        match self.read(op, &ran)? {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(Fault::Refused(self.refused(refusal))),
        }
    }

    fn command(&self, call: &Call, life: Option<OwnedFd>) -> Result<Command, Error> {
        let failed = |e| Error::io(format!("ask {}", self.called), e);
        let request = call.encode().map_err(|e| {
            Error::new(ErrorKind::Usage, "the machine has a path that is not UTF-8").with_source(e)
        })?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(memory_file(&request).map_err(failed)?);
        let life = life.map(|parent_fd| FdMapping { parent_fd, child_fd: LIFE_FD });
        command
            .fd_mappings(life.into_iter().collect())
            .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        Ok(command)
    }

    fn read<T: DeserializeOwned>(&self, op: &str, ran: &Ran) -> Result<Result<T, Refusal>, Fault> {
        let fault = |kind, what: String| {
            Error::new(kind, format!("{} {what}{}", self.called, last_line(&ran.log)))
        };
        let answered = match ran.status {
            None => {
                let what = format!("answered '{op}' with more than {MAX_ANSWER} bytes");
                Err(fault(ErrorKind::Protocol, what))
            }
            Some(status) if !status.success() => {
                Err(fault(ErrorKind::Crashed, format!("ended with {status} when asked to '{op}'")))
            }
            Some(_) if ran.stdout.trim_ascii().is_empty() => {
                Err(fault(ErrorKind::Protocol, format!("did not answer when asked to '{op}'")))
            }
            Some(_) => decode(&ran.stdout).map_err(|e| {
                let what =
                    format!("answered '{op}' with what the supervisor protocol does not know");
                fault(ErrorKind::Protocol, what).with_source(e)
            }),
        };
        answered.map_err(Fault::Silent)
    }

    /// What a program says goes to a terminal: one line of it, without what moves a cursor.
    fn refused(&self, refusal: Refusal) -> Error {
        let Refusal { kind, message, hint } = refusal;
        let hint = hint.map(|hint| one_line(&hint)).filter(|hint| !hint.is_empty());
        Error { hint, ..Error::new(kind, format!("{}: {}", self.called, one_line(&message))) }
    }

    fn failed(&self, op: &str, within: Duration, failed: Failed) -> Error {
        let called = &self.called;
        match failed {
            Failed::Late { log } => {
                let last = last_line(&log);
                let message = format!("{called} did not answer '{op}' within {within:?}{last}");
                Error::new(ErrorKind::Timeout, message)
            }
            Failed::Start(e) => {
                Error::new(ErrorKind::Usage, format!("{called} cannot be run")).with_source(e)
            }
            Failed::Read(e) => Error::io(format!("read what {called} answers"), e),
        }
    }
}

/// Bytes in a file without a name: unlike a pipe that takes any length without a reader.
fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("request", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
