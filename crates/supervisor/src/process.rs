//! Running a program for what it prints: bounded, with a deadline, and with nothing left of
//! it afterwards.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::{AsyncReadExt, Interest, unix::AsyncFd};
use tokio::net::unix::pipe;

/// All of its environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How much of the end of what a program says on standard error is kept, in bytes.
const MAX_LOG: usize = 4 << 10;
/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How it ended; `None` if it was ended because it printed too much.
    pub(crate) status: Option<ExitStatus>,
    /// What it printed.
    pub(crate) stdout: Vec<u8>,
    /// The end of what it said on standard error.
    pub(crate) log: Vec<u8>,
}

/// Why nothing came of a program.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It did not end in time.
    Late {
        /// The end of what it said on standard error.
        log: Vec<u8>,
    },
    /// It cannot be run.
    Start(io::Error),
    /// It cannot be read from.
    Read(io::Error),
}

/// Runs a program until it ends, has printed more than `limit` bytes, or `within` is over.
/// Its environment is clean and its process group its own; what is left of that is ended.
pub(crate) async fn run(command: Command, limit: usize, within: Duration) -> Result<Ran, Failed> {
    let mut running = Running::start(command).map_err(Failed::Start)?;
    let read = tokio::time::timeout(within, running.read(limit)).await;
    let Running { stdout, log, .. } = &mut running;
    let (stdout, log) = (std::mem::take(stdout), std::mem::take(log));
    match read {
        Err(_) => Err(Failed::Late { log }),
        Ok(Err(e)) => Err(Failed::Read(e)),
        Ok(Ok(End::Flood)) => Ok(Ran { status: None, stdout, log }),
        Ok(Ok(End::Exit)) => {
            let status = running.end().map_err(Failed::Read)?;
            Ok(Ran { status: Some(status), stdout, log })
        }
    }
}

/// A program on its way; dropped, it is ended with all of its group.
struct Running {
    child: Child,
    ended: AsyncFd<OwnedFd>,
    pipes: [pipe::Receiver; 2],
    stdout: Vec<u8>,
    log: Vec<u8>,
}

/// Why nothing more is read.
enum End {
    Exit,
    Flood,
}

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        command
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Unwatched(Some(command.spawn()?));
        let parts = child
            .0
            .as_mut()
            .and_then(|c| Some((c.stdout.take()?, c.stderr.take()?, Pid::from_child(c))));
        let (stdout, stderr, pid) = parts.ok_or(io::ErrorKind::BrokenPipe)?;
        let receiver = |fd: OwnedFd| pipe::Receiver::from_owned_fd(fd);
        let pipes = [receiver(stdout.into())?, receiver(stderr.into())?];
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // Deprecated for what could change its descriptor while registered; this cannot.
        #[allow(deprecated)]
        let ended = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        let child = child.0.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, ended, pipes, stdout: Vec::new(), log: Vec::new() })
    }

    /// Reads until its end. Others may hold its streams open for longer, so it is its own end
    /// that counts.
    async fn read(&mut self, limit: usize) -> io::Result<End> {
        let Self { ended, pipes: [stdout, stderr], stdout: text, log, .. } = self;
        let (mut chunk, mut other) = ([0; CHUNK], [0; CHUNK]);
        let (mut printing, mut logging) = (true, true);
        loop {
            tokio::select! {
                biased;
                ready = ended.readable() => {
                    let _ = ready?;
                    break;
                }
                read = stdout.read(&mut chunk), if printing => {
                    let len = read?;
                    printing = len > 0;
                    text.extend_from_slice(&chunk[..len]);
                }
                read = stderr.read(&mut other), if logging => {
                    let len = read?;
                    logging = len > 0;
                    keep_end(log, &other[..len]);
                }
            }
            if text.len() > limit {
                return Ok(End::Flood);
            }
        }
        drain(stdout, |part| {
            text.extend_from_slice(part);
            text.len() <= limit
        })?;
        let mut left = MAX_LOG;
        drain(stderr, |part| {
            keep_end(log, part);
            left = left.saturating_sub(part.len());
            left > 0
        })?;
        Ok(if text.len() > limit { End::Flood } else { End::Exit })
    }

    /// Ends its group and collects it.
    fn end(mut self) -> io::Result<ExitStatus> {
        end_group(&self.child);
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end_group(&self.child);
        let _ = self.child.wait();
    }
}

/// A program that cannot be watched yet; dropped, it is ended.
struct Unwatched(Option<Child>);

impl Drop for Unwatched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end_group(child);
            let _ = child.wait();
        }
    }
}

/// Ends the process group of a program that was not collected yet, so that its number is
/// nobody else's.
fn end_group(leader: &Child) {
    // Nobody may be left; then there is nobody to signal.
    let _ = kill_process_group(Pid::from_child(leader), Signal::KILL);
}

/// Reads what a pipe holds now, for as long as `take` wants more.
fn drain(pipe: &pipe::Receiver, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        match rustix::io::read(pipe.as_fd(), &mut chunk) {
            Ok(0) | Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Ok(len) if take(&chunk[..len]) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn keep_end(log: &mut Vec<u8>, part: &[u8]) {
    log.extend_from_slice(part);
    log.drain(..log.len().saturating_sub(MAX_LOG));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    async fn ran(script: &str) -> (Option<i32>, String, String) {
        let ran = run(shell(script), 1000, LONG).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.and_then(|s| s.code()), text(&ran.stdout), text(&ran.log))
    }

    #[tokio::test]
    async fn what_it_prints_and_how_it_ends_is_told() {
        assert_eq!(ran("echo a; echo b >&2; exit 3").await, (Some(3), "a\n".into(), "b\n".into()));
        assert_eq!(ran("echo $HOME").await.1, "\n");
        assert_eq!(ran("kill -9 $$").await.0, None);
    }

    #[tokio::test]
    async fn too_much_is_an_end() {
        let ran = run(shell("exec yes"), 1000, LONG).await.unwrap();
        assert!(ran.status.is_none() && ran.stdout.len() > 1000);
        let ran = run(shell("yes >&2 & sleep 0.1; exit 0"), 1000, LONG).await.unwrap();
        assert!(ran.status.is_some() && ran.log.len() <= MAX_LOG);
    }

    #[tokio::test]
    async fn whoever_holds_its_streams_does_not_keep_it() {
        assert_eq!(ran("sleep 1000 & echo done").await.1, "done\n");
    }

    #[tokio::test]
    async fn who_is_late_is_ended() {
        let late = run(shell("echo last words >&2; sleep 1000"), 10, Duration::from_millis(500));
        match late.await {
            Err(Failed::Late { log }) => assert_eq!(log, b"last words\n"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_no_program_is_told() {
        let none = run(Command::new("/nowhere"), 10, LONG).await;
        assert!(matches!(none, Err(Failed::Start(_))), "{none:?}");
    }
}
