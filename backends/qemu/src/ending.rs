//! How a machine ended, by all that is left to tell.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use microagent_backend::{Exit, RunDir};
use microagent_vmm_protocol::{ChildExit, EXIT_FILE, MAX_REPORT_LEN};
use rustix::fs::inotify;

use crate::files;
use crate::launch::one_line;
use crate::limits::{FOLLOW_WITHIN, MAX_RECORD_LEN};
use crate::process::Process;
use crate::qmp::Shutdown;
use crate::ready::in_words;
use crate::record::read_bounded;
use crate::watched::watched;

/// What is left of a machine whose QEMU has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// What the guard recorded, unless it was killed first.
    exit: Option<ChildExit>,
    /// What QEMU said over QMP, if anybody listened.
    shutdown: Option<Shutdown>,
    /// Whether somebody asked for its end.
    killed: bool,
    /// Why this driver ended it unasked.
    failed: Option<String>,
    /// Whether the run directory is gone.
    removed: bool,
}

impl Remains {
    /// Looks for what is left in `dir`, waiting a little for the guard to record it.
    pub(crate) async fn gather(dir: &RunDir, guard: &Process, shutdown: Option<Shutdown>) -> Self {
        let path = dir.file(EXIT_FILE);
        // Where it cannot be watched, what is there by now must do.
        let _ = tokio::time::timeout(FOLLOW_WITHIN, appears(dir.path(), &path, guard)).await;
        let text = read_bounded(&path, MAX_REPORT_LEN as u64).ok();
        let failed = read_bounded(&dir.file(files::FAILED), MAX_RECORD_LEN).ok();
        Self {
            exit: text.and_then(|text| serde_json::from_slice(&text).ok()),
            shutdown,
            killed: dir.file(files::KILLED).exists(),
            failed: failed.map(|text| one_line(&String::from_utf8_lossy(&text))),
            removed: !dir.path().exists(),
        }
    }

    /// What they say.
    pub(crate) fn verdict(self) -> Exit {
        let Self { exit, shutdown, killed, failed, removed } = self;
        if let Some(detail) = failed {
            return Exit::Crashed { detail };
        }
        let Some(exit) = exit else {
            return match killed || removed {
                true => Exit::Killed,
                false => Exit::Crashed { detail: "its guard was killed".into() },
            };
        };
        let crashed = |exit: &ChildExit| Exit::Crashed { detail: in_words(exit) };
        match exit.code {
            _ if exit.by_guard => Exit::Killed,
            Some(0) => match shutdown {
                Some(Shutdown::Quit) => Exit::Killed,
                Some(Shutdown::Other(_)) => crashed(&exit),
                // QEMU ends with 0 on a polite signal as well, and then says so.
                None if exit.last_words.contains("terminating on signal") => crashed(&exit),
                _ if exit.panic => Exit::Panic,
                Some(Shutdown::GuestPowerOff) => Exit::PowerOff,
                // Without ACPI a guest has no other way to end.
                Some(Shutdown::GuestReset) | None => Exit::Reset,
            },
            None if killed => Exit::Killed,
            _ => crashed(&exit),
        }
    }
}

/// Waits until `path` exists in `dir`, or nobody is left to make it.
async fn appears(dir: &Path, path: &Path, guard: &Process) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = watched(inotify::init(flags)?)?;
    let moves = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&watch, dir, moves)?;
    while !path.exists() && dir.exists() {
        tokio::select! {
            ready = watch.readable() => {
                let mut ready = ready?;
                let mut buffer = [MaybeUninit::uninit(); 4096];
                // What happened is seen by looking; this is emptied to be told again.
                while inotify::Reader::new(watch.get_ref(), &mut buffer).next().is_ok() {}
                ready.clear_ready();
            }
            ended = guard.ended() => return ended,
        }
    }
    Ok(())
}

/// Leaves a note in a run directory, once. A directory that is gone needs none.
pub(crate) fn note(dir: &RunDir, name: &str, text: &str) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(dir.file(name)) {
        Ok(mut file) => io::Write::write_all(&mut file, text.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: Option<i32>) -> Remains {
        let last_words = String::new();
        let exit = ChildExit { code, signal, by_guard: false, panic: false, last_words };
        Remains { exit: Some(exit), ..Remains::default() }
    }

    fn check(from: Remains, change: impl FnOnce(&mut Remains, &mut ChildExit), expect: &str) {
        let mut remains = from;
        let mut child = remains.exit.clone();
        let mut unused = exit(None, None).exit.unwrap();
        change(&mut remains, child.as_mut().unwrap_or(&mut unused));
        remains.exit = child;
        let shown = format!("{remains:?}");
        let got = match remains.verdict() {
            Exit::Crashed { detail } => format!("crashed: {detail}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, expect, "{shown}");
    }

    #[test]
    fn a_guest_that_ends() {
        let ended = || exit(Some(0), None);
        check(ended(), |_, _| (), "Reset");
        check(ended(), |r, _| r.shutdown = Some(Shutdown::GuestReset), "Reset");
        check(ended(), |r, _| r.shutdown = Some(Shutdown::GuestPowerOff), "PowerOff");
        check(ended(), |_, e| e.panic = true, "Panic");
        check(ended(), |r, _| r.killed = true, "Reset");
    }

    #[test]
    fn a_machine_that_is_ended() {
        let killed = || exit(None, Some(9));
        check(killed(), |r, _| r.killed = true, "Killed");
        check(killed(), |_, e| e.by_guard = true, "Killed");
        check(exit(Some(0), None), |r, _| r.shutdown = Some(Shutdown::Quit), "Killed");
        check(Remains { removed: true, ..Remains::default() }, |_, _| (), "Killed");
        check(Remains { killed: true, ..Remains::default() }, |_, _| (), "Killed");
    }

    #[test]
    fn a_monitor_that_dies() {
        check(exit(None, Some(9)), |_, _| (), "crashed: signal 9");
        check(
            exit(Some(1), None),
            |_, e| e.last_words = "a\nb".into(),
            "crashed: a; b (exit code 1)",
        );
        check(exit(None, Some(11)), |_, e| e.panic = true, "crashed: signal 11");
        check(Remains::default(), |_, _| (), "crashed: its guard was killed");
        let words = "qemu: terminating on signal 15 from pid 1 (kill)";
        check(
            exit(Some(0), None),
            |_, e| e.last_words = words.into(),
            "crashed: qemu: terminating on signal 15 from pid 1 (kill) (exit code 0)",
        );
        let told = Some(Shutdown::Other("host-signal".into()));
        check(exit(Some(0), None), |r, _| r.shutdown = told, "crashed: exit code 0");
        let why = Some("its vsock process died".to_owned());
        check(exit(None, Some(9)), |r, _| r.failed = why, "crashed: its vsock process died");
    }
}
