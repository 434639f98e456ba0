//! Waiting until QEMU has built its machine, or finding out why it has not.

use std::future::pending;
use std::os::unix::net::UnixListener as Listener;
use std::pin::pin;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use microagent_vmm_protocol::{ChildExit, GuardReport, MAX_REPORT_LEN};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::pipe;

use crate::build::{GUARD, VSOCK};
use crate::files;
use crate::launch::{died, last_words, one_line};
use crate::limits::{FOLLOW_WITHIN, REPLY_WITHIN};
use crate::process::Process;
use crate::qmp::Session;

/// A QEMU that has built its machine.
pub(crate) struct Ready {
    /// Its process.
    pub(crate) pid: u32,
    /// Whether it was seen to be confined.
    pub(crate) landlock: bool,
    /// The way to talk to it.
    pub(crate) session: Session,
    /// What its guard will report.
    pub(crate) reports: Reports,
}

/// What is watched until QEMU is ready.
pub(crate) struct Waiting<'a> {
    /// The run directory.
    pub(crate) dir: &'a RunDir,
    /// The process without which QEMU cannot build a vsock device.
    pub(crate) vsock: Option<&'a Process>,
}

impl Waiting<'_> {
    /// Waits until QEMU, having connected to `owner`, answers. The caller sets the deadline.
    pub(crate) async fn until_ready(&self, mut reports: Reports, owner: Listener) -> Result<Ready> {
        let mut session = pin!(self.session(owner));
        let (mut child, mut greeted) = (None, None);
        loop {
            if let (Some((pid, landlock)), Some(_)) = (child, &greeted)
                && let Some(session) = greeted.take()
            {
                return Ok(Ready { pid, landlock, session, reports });
            }
            tokio::select! {
                report = reports.next() => match report? {
                    Some(GuardReport::Started { pid, landlock }) => child = Some((pid, landlock)),
                    Some(GuardReport::Exited(exit)) => return Err(refused(&exit)),
                    Some(GuardReport::Failed { message }) => return Err(not_started(&message)),
                    None => return Err(died(GUARD, &last_words(self.dir, GUARD))),
                },
                outcome = &mut session, if greeted.is_none() => match outcome {
                    Ok(session) => greeted = Some(session),
                    // QEMU is about to end, and its guard will know why.
                    Err(error) => return Err(reports.until_exit().await.map_or(error, |exit| refused(&exit))),
                },
                () = ended(self.vsock) => return Err(self.without_vsock(reports).await),
            }
        }
    }

    async fn session(&self, owner: Listener) -> Result<Session> {
        let failed = |e| Error::io("wait for qemu to connect", e);
        owner.set_nonblocking(true).map_err(failed)?;
        let owner = UnixListener::from_std(owner).map_err(failed)?;
        let (stream, _) = owner.accept().await.map_err(failed)?;
        // It has served; there is one owner.
        let _ = std::fs::remove_file(self.dir.file(files::OWNER));
        Session::greet(stream, REPLY_WITHIN).await
    }

    /// The vsock process is gone: because QEMU is, or the other way round.
    async fn without_vsock(&self, mut reports: Reports) -> Error {
        let words = last_words(self.dir, VSOCK);
        match reports.until_exit().await {
            Some(exit) if words.is_empty() => refused(&exit),
            _ => died(VSOCK, &words),
        }
    }
}

async fn ended(process: Option<&Process>) {
    match process {
        // Where its end cannot be watched, that of QEMU will do.
        Some(process) if process.ended().await.is_ok() => {}
        _ => pending().await,
    }
}

/// The lines that a guard writes.
#[derive(Debug)]
pub(crate) struct Reports {
    from: BufReader<pipe::Receiver>,
    line: Vec<u8>,
}

impl Reports {
    /// Reads them from there.
    pub(crate) fn new(from: pipe::Receiver) -> Self {
        Self { from: BufReader::new(from), line: Vec::new() }
    }

    /// The next, or `None` at the end. Nothing is lost if this is not waited for.
    async fn next(&mut self) -> Result<Option<GuardReport>> {
        let rest = MAX_REPORT_LEN.saturating_sub(self.line.len()) as u64;
        let read = (&mut self.from).take(rest).read_until(b'\n', &mut self.line).await;
        read.map_err(|e| Error::io("read from the guard", e))?;
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(None);
        }
        let nonsense = |e| {
            let text = one_line(&String::from_utf8_lossy(&line[..line.len().min(80)]));
            Error::new(ErrorKind::Protocol, format!("the guard reported {text:?}")).with_source(e)
        };
        serde_json::from_slice(&line).map(Some).map_err(nonsense)
    }

    /// How QEMU ended, if that is reported soon.
    async fn until_exit(&mut self) -> Option<ChildExit> {
        let exit = async {
            loop {
                match self.next().await {
                    Ok(Some(GuardReport::Exited(exit))) => return Some(exit),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(FOLLOW_WITHIN, exit).await.ok().flatten()
    }
}

/// QEMU ended instead of building a machine.
fn refused(exit: &ChildExit) -> Error {
    let words = one_line(&exit.last_words);
    let has = |text: &str| words.contains(text);
    let (kind, hint) = if has("Failed to get") && has("lock") {
        (ErrorKind::Conflict, Some("a disk is in use by another machine: end that first"))
    } else if has("Cannot allocate memory") {
        (ErrorKind::Exhausted, Some("ask for less memory"))
    } else if has("No space left") || has("Too many open files") {
        (ErrorKind::Exhausted, None)
    } else {
        (ErrorKind::Crashed, None)
    };
    let error = Error::new(kind, format!("qemu ended before the guest ran: {}", in_words(exit)));
    hint.into_iter().fold(error, Error::with_hint)
}

/// How a process ended, with what it said last.
pub(crate) fn in_words(exit: &ChildExit) -> String {
    let end = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it would not end".into(),
    };
    match one_line(&exit.last_words) {
        words if words.is_empty() => end,
        words => format!("{words} ({end})"),
    }
}

fn not_started(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("qemu could not be started: {}", one_line(message)))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    fn exit(words: &str) -> ChildExit {
        let (code, signal) = (Some(1), None);
        ChildExit { code, signal, by_guard: false, panic: false, last_words: words.into() }
    }

    #[test]
    fn refusals_have_kinds() {
        let check = |words: &str, expect| assert_eq!(refused(&exit(words)).kind, expect, "{words}");
        check("x: Failed to get \"write\" lock\nIs another process using it?", ErrorKind::Conflict);
        check("cannot set up guest memory: Cannot allocate memory", ErrorKind::Exhausted);
        check("-device foo: 'foo' is not a valid device", ErrorKind::Crashed);
        check("", ErrorKind::Crashed);
    }

    #[test]
    fn refusals_quote_the_last_words() {
        let error = refused(&exit("qemu: -device foo:\n 'foo' is no device\x1b[1m\n"));
        let expect = "qemu ended before the guest ran: qemu: -device foo:; 'foo' is no \
                      device?[1m (exit code 1)";
        assert_eq!(error.message, expect);
    }

    #[tokio::test]
    async fn reports_are_lines_of_bounded_length() {
        let (from, mut to) = io::pipe().unwrap();
        let mut reports = Reports::new(pipe::Receiver::from_owned_fd(from.into()).unwrap());
        to.write_all(b"{\"event\":\"started\",\"pid\":7,\"landlock\":true}\n").unwrap();
        let started = GuardReport::Started { pid: 7, landlock: true };
        assert_eq!(reports.next().await.unwrap(), Some(started));
        let flood = std::thread::spawn(move || to.write_all(&vec![b'x'; MAX_REPORT_LEN]));
        assert_eq!(reports.next().await.unwrap_err().kind, ErrorKind::Protocol);
        flood.join().unwrap().unwrap();
        assert_eq!(reports.next().await.unwrap(), None);
    }
}
