//! A child process with a deadline, fed through its standard input.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::spool::unnamed_file;

/// How much of what a child says is kept.
const SAID_MAX: u64 = 2048;

/// How a child ended.
#[derive(Debug)]
pub(super) enum Finished {
    Well,
    /// With an error, and the end of what it said about it.
    Badly(String),
    /// Not in time: it was killed.
    Late,
}

/// Runs `command` in an empty environment; `feed` writes to its standard input
/// from a thread of its own.
///
/// # Errors
/// When it cannot be started or waited for, or when `feed` fails on something
/// other than the child's not listening any more.
pub(super) fn run(
    command: &mut Command,
    within: Duration,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
) -> io::Result<Finished> {
    let mut said = unnamed_file(&std::env::temp_dir())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said.try_clone()?);
    let mut child = command.spawn()?;
    let input = child.stdin.take();
    let (waited, fed) = std::thread::scope(|scope| {
        let feeding = scope.spawn(move || match input {
            Some(mut pipe) => feed(&mut pipe),
            None => Ok(()),
        });
        // Once the child is gone its end of the pipe is too, and feeding ends.
        let waited = wait(&mut child, within);
        (waited, feeding.join())
    });
    let Some(status) = waited? else { return Ok(Finished::Late) };
    match fed {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        Ok(_) => {}
        Err(_) => return Err(io::Error::other("feeding it failed")),
    }
    if status.success() {
        Ok(Finished::Well)
    } else {
        Ok(Finished::Badly(words(&mut said, status)))
    }
}

/// Waits for `child`; `None` if it had to be killed.
fn wait(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    let ended = ends(child, within);
    if !matches!(ended, Ok(true)) {
        // It may have ended this instant, which is as good.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(ended?.then_some(status))
}

fn ends(child: &Child, within: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + within;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the child has no process ID"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The end of what was said, on one line, or else the status.
fn words(said: &mut File, status: ExitStatus) -> String {
    let mut bytes = Vec::new();
    let read = said.seek(io::SeekFrom::End(0)).and_then(|length| {
        said.seek(io::SeekFrom::Start(length.saturating_sub(SAID_MAX)))?;
        said.take(SAID_MAX).read_to_end(&mut bytes)
    });
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    if read.is_err() || words.is_empty() { status.to_string() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, within: Duration, input: &[u8]) -> Finished {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        run(&mut command, within, |pipe| pipe.write_all(input)).unwrap()
    }

    #[test]
    fn endings() {
        let long = Duration::from_secs(60);
        assert!(matches!(shell("cat >/dev/null", long, &vec![0; 1 << 20]), Finished::Well));
        // It need not listen.
        assert!(matches!(shell("exit 0", long, &vec![0; 1 << 20]), Finished::Well));
        match shell("echo one; echo two >&2; echo three >&2; exit 3", long, b"") {
            Finished::Badly(said) => assert_eq!(said, "two three"),
            other => panic!("{other:?}"),
        }
        match shell("exit 3", long, b"") {
            Finished::Badly(said) => assert!(said.contains('3'), "{said}"),
            other => panic!("{other:?}"),
        }
        let soon = Duration::from_millis(50);
        assert!(matches!(shell("exec sleep 60", soon, &vec![0; 1 << 20]), Finished::Late));
        assert!(run(&mut Command::new("/no/such/program"), long, |_| Ok(())).is_err());
    }
}
