//! Starting the processes of `microagent-vmm`.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use microagent_backend::{Error, ErrorKind, Result, RunDir};
use rustix::fs::MemfdFlags;
use serde::Serialize;
use tokio::net::unix::pipe;

use crate::files;
use crate::limits::MAX_QUOTED_LOG;
use crate::process_error::process_error;
use crate::words::one_line;
use microagent_process::Process;

/// What starts a hypervisor, keeps its console and ends it.
pub const GUARD: Role = Role { name: "guard", argument: "guard", log: files::GUARD_LOG };

/// One of the processes that `microagent-vmm` can be.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// What it is called here.
    pub name: &'static str,
    /// The argument that makes it so.
    pub argument: &'static str,
    /// File name in the run directory of what it has to say.
    pub log: &'static str,
}

/// A process that was started, and does nothing before it is told what.
///
/// Whoever starts it writes down first that it is there: should it be killed before that, the
/// process is told nothing and ends.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The process.
    pub(crate) process: Process,
    /// What it reports.
    pub(crate) reports: pipe::Receiver,
    /// By which it is told.
    pub(crate) input: Input,
}

/// By which a process is told what to do.
#[derive(Debug)]
pub(crate) struct Input(PipeWriter);

/// Starts `monitor` as `role` in `dir`, with `fds` under the numbers that stand with them.
///
/// # Errors
/// `Io` if it cannot be started.
pub(crate) fn launch(
    monitor: &Path,
    role: Role,
    dir: &RunDir,
    fds: Vec<(OwnedFd, i32)>,
) -> Result<Launched> {
    let failed = |e| {
        Error::io(format!("start {} {}", monitor.display(), role.argument), e)
            .with_hint("the monitor must be of the same version as microagent: install both")
    };
    let mappings = fds.into_iter().map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    let (its_input, input) = io::pipe().map_err(failed)?;
    let mut command = Command::new(monitor);
    command
        .arg(role.argument)
        .env_clear()
        .current_dir(dir.path())
        .stdin(its_input)
        .stdout(Stdio::piped())
        .stderr(log(dir, role).map_err(failed)?);
    command
        .fd_mappings(mappings.collect())
        .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
    let mut child = command.spawn().map_err(failed)?;
    let process = Process::now(child.id()).map_err(|e| {
        let _ = child.kill().and_then(|()| child.wait());
        process_error("hold", role.name, e)
    })?;
    let reports = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let reports = pipe::Receiver::from_owned_fd(reports.into()).map_err(failed)?;
    Ok(Launched { process, reports, input: Input(input) })
}

impl Input {
    /// Writes `spec` as JSON, and ends.
    ///
    /// # Errors
    /// What making that and writing it meets.
    pub(crate) fn tell(mut self, spec: &impl Serialize) -> io::Result<()> {
        match self.0.write_all(&serde_json::to_vec(spec)?) {
            // It has ended, and its reports or its log say why.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}

/// The end of what a process had to say, for an error.
pub fn last_words(dir: &RunDir, role: Role) -> String {
    let end = || -> io::Result<Vec<u8>> {
        let mut file = File::open(dir.file(role.log))?;
        let len = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(len.saturating_sub(MAX_QUOTED_LOG)))?;
        let mut text = Vec::new();
        file.take(MAX_QUOTED_LOG).read_to_end(&mut text)?;
        Ok(text)
    };
    one_line(&String::from_utf8_lossy(&end().unwrap_or_default()))
}

/// An error that a process died, with what it said last.
pub fn died(role: Role, words: &str) -> Error {
    let words = if words.is_empty() { "without a word" } else { words };
    Error::new(ErrorKind::Crashed, format!("the {} process died: {words}", role.name))
}

/// `spec` as JSON in a file without a name: unlike a pipe that takes any length without a
/// reader.
///
/// # Errors
/// What making and writing it meets.
pub fn memory_file(spec: &impl Serialize) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("spec", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.rewind()?;
    Ok(file)
}

fn log(dir: &RunDir, role: Role) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(dir.file(role.log))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    const CAT: Role = Role { name: "cat", argument: "-", log: "cat.log" };

    #[tokio::test]
    async fn what_is_told_nothing_ends_and_what_is_told_knows_all() {
        let top = tempfile::tempdir().unwrap();
        let dir = RunDir::create(top.path().join("m")).unwrap();
        let start = || launch(Path::new("/bin/cat"), CAT, &dir, Vec::new()).unwrap();
        let told = start();
        // As where whoever started it is killed before it was written down.
        let Launched { process, mut reports, input } = start();
        drop(input);
        let mut text = String::new();
        reports.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "");
        assert!(process.ended_within(Duration::from_secs(60)).await.unwrap());
        let Launched { process, mut reports, input } = told;
        assert!(!process.has_ended());
        input.tell(&["a spec"]).unwrap();
        reports.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, r#"["a spec"]"#);
        assert!(process.ended_within(Duration::from_secs(60)).await.unwrap());
    }
}
