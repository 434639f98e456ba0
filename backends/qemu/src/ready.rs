//! Waiting until QEMU has built its machine, or finding out why it has not.

use std::future::pending;
use std::os::unix::net::UnixListener as Listener;
use std::pin::pin;

use microagent_backend::{Error, ErrorKind, Result, RunDir};
use microagent_guarded::{GUARD, Process, Reports, Started, died, in_words, last_words, one_line};
use microagent_vmm_protocol::{ChildExit, GuardReport};
use tokio::net::UnixListener;

use crate::build::VSOCK;
use crate::files;
use crate::limits::REPLY_WITHIN;
use crate::qmp::Session;
use crate::slirp;

/// A QEMU that has built its machine.
pub(crate) struct Ready {
    /// Its process.
    pub(crate) started: Started,
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
            if let (Some(started), Some(_)) = (child, &greeted)
                && let Some(session) = greeted.take()
            {
                return Ok(Ready { started, session, reports });
            }
            tokio::select! {
                report = reports.next() => match report? {
                    Some(GuardReport::Started { pid, landlock }) => {
                        child = Some(Started { pid, landlock });
                    }
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
    if let Some(what) = slirp::closed_port(&words) {
        let hint = "choose another: it is in use, or not this user's or this host's";
        return Error::new(ErrorKind::Conflict, what).with_hint(hint);
    }
    let error = Error::new(kind, format!("qemu ended before the guest ran: {}", in_words(exit)));
    hint.into_iter().fold(error, Error::with_hint)
}

fn not_started(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("qemu could not be started: {}", one_line(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(words: &str) -> ChildExit {
        let (code, signal) = (Some(1), None);
        let (by_guard, by_event, panic) = Default::default();
        ChildExit { code, signal, by_guard, by_event, panic, last_words: words.into() }
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
}
