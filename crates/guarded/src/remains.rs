//! What is left of a machine that has ended, to tell how.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use microagent_backend::{Exit, RunDir};
use microagent_vmm_protocol::{ChildExit, EXIT_FILE, MAX_REPORT_LEN};
use rustix::fs::inotify;

use crate::files;
use crate::limits::{FOLLOW_WITHIN, MAX_RECORD_LEN};
use crate::record::read_bounded;
use crate::words::{in_words, one_line};
use microagent_process::Process;
use microagent_process::watched;

/// What is left of a machine whose monitor has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// What the guard recorded, unless it was killed first.
    pub exit: Option<ChildExit>,
    /// Whether somebody asked for its end.
    pub killed: bool,
    /// Why the driver ended it unasked.
    pub failed: Option<String>,
    /// Whether the run directory is gone.
    pub removed: bool,
}

impl Remains {
    /// Looks for what is left in `dir`, waiting a little for the guard to record it.
    pub async fn gather(dir: &RunDir, guard: &Process) -> Self {
        let path = dir.file(EXIT_FILE);
        // Where it cannot be watched, what is there by now must do.
        let _ = tokio::time::timeout(FOLLOW_WITHIN, appears(dir.path(), &path, guard)).await;
        let text = read_bounded(&path, MAX_REPORT_LEN as u64).ok();
        if text.is_none() {
            // What it recorded may be gone again while it still removes the directory.
            let _ = tokio::time::timeout(FOLLOW_WITHIN, guard.ended()).await;
        }
        let failed = read_bounded(&dir.file(files::FAILED), MAX_RECORD_LEN).ok();
        Self {
            exit: text.and_then(|text| serde_json::from_slice(&text).ok()),
            killed: dir.file(files::KILLED).exists(),
            failed: failed.map(|text| one_line(&String::from_utf8_lossy(&text))),
            removed: !dir.path().exists(),
        }
    }

    /// What they say. Only `by_itself`, given the exit code and the whole exit, knows what
    /// that of a monitor means that ended by itself.
    pub fn verdict(self, by_itself: impl FnOnce(i32, &ChildExit) -> Exit) -> Exit {
        let Self { exit, killed, failed, removed } = self;
        if let Some(detail) = failed {
            return Exit::Crashed { detail };
        }
        let Some(exit) = exit else {
            return match killed || removed {
                true => Exit::Killed,
                false => Exit::Crashed { detail: "its guard was killed".into() },
            };
        };
        match exit.code {
            _ if exit.by_guard => Exit::Killed,
            // What is watched for is a guest that would begin again.
            _ if exit.by_event && exit.panic => Exit::Panic,
            _ if exit.by_event => Exit::Reset,
            Some(code) => by_itself(code, &exit),
            None if killed => Exit::Killed,
            None => Exit::Crashed { detail: in_words(&exit) },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(remains: Remains, expect: &str) {
        let shown = format!("{remains:?}");
        let got = match remains.verdict(|code, _| Exit::Crashed { detail: format!("code {code}") })
        {
            Exit::Crashed { detail } => format!("crashed: {detail}"),
            other => format!("{other:?}"),
        };
        assert_eq!(got, expect, "{shown}");
    }

    fn exit(code: Option<i32>, signal: Option<i32>, by_guard: bool) -> Option<ChildExit> {
        let (by_event, panic, last_words) = Default::default();
        Some(ChildExit { code, signal, by_guard, by_event, panic, last_words })
    }

    #[test]
    fn what_remains_says_how_it_ended() {
        let none = Remains::default;
        check(none(), "crashed: its guard was killed");
        check(Remains { removed: true, ..none() }, "Killed");
        check(Remains { killed: true, ..none() }, "Killed");
        check(Remains { exit: exit(None, Some(9), false), ..none() }, "crashed: signal 9");
        check(Remains { exit: exit(None, Some(9), false), killed: true, ..none() }, "Killed");
        check(Remains { exit: exit(None, Some(9), true), ..none() }, "Killed");
        check(Remains { exit: exit(Some(3), None, false), ..none() }, "crashed: code 3");
        let mut again = exit(None, Some(9), false);
        again.iter_mut().for_each(|exit| exit.by_event = true);
        check(Remains { exit: again.clone(), killed: true, ..none() }, "Reset");
        again.iter_mut().for_each(|exit| exit.panic = true);
        check(Remains { exit: again, ..none() }, "Panic");
        let failed = Some("why".to_owned());
        check(Remains { exit: exit(Some(3), None, true), failed, ..none() }, "crashed: why");
    }

    #[tokio::test]
    async fn what_is_gathered() {
        let top = tempfile::tempdir().unwrap();
        let dir = RunDir::create(top.path().join("m")).unwrap();
        let gone = Process::gone(crate::ProcessId { pid: 1, started: 0 });
        files::note(&dir, files::FAILED, "a\nb").unwrap();
        files::note(&dir, files::FAILED, "later").unwrap();
        std::fs::write(dir.file(EXIT_FILE), "nonsense").unwrap();
        let remains = Remains::gather(&dir, &gone).await;
        let expect = Remains { failed: Some("a; b".into()), ..Remains::default() };
        assert_eq!(remains, expect);
        dir.remove().unwrap();
        files::note(&dir, files::KILLED, "").unwrap();
        let remains = Remains::gather(&dir, &gone).await;
        assert_eq!(remains, Remains { removed: true, ..Remains::default() });
    }
}
