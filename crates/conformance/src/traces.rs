//! What a machine leaves behind: processes and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use crate::failure::{Failure, Result};

/// How long what must be gone may take to go: the end of a process is an event for its
/// parent and its watchers, not for an onlooker, so this one looks again and again.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// How often an onlooker looks at what tells nobody: a process that goes, a log that grows.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that has to do with a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    pid: u32,
    what: String,
}

/// The processes but this one whose working directory, arguments or open files lie in or
/// name `dir`. Zombies hold nothing and do not count.
pub(crate) fn processes(dir: &Path) -> Vec<Trace> {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let pids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        entry.ok()?.file_name().to_str()?.parse().ok().filter(|pid| *pid != std::process::id())
    });
    pids.filter_map(|pid| Some(Trace { pid, what: tie(pid, &dir)? })).collect()
}

/// What ties a process to a directory.
fn tie(pid: u32, dir: &Path) -> Option<String> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    if stat.rsplit_once(") ")?.1.starts_with(['Z', 'X']) {
        return None;
    }
    let arguments = fs::read(proc.join("cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let fds = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
    let links = [proc.join("cwd")].into_iter().chain(fds.map(|fd| fd.path()));
    let mut targets = links.filter_map(|link| fs::read_link(link).ok());
    let within = targets.any(|target| target.starts_with(dir));
    let named = arguments.contains(&*dir.to_string_lossy());
    let short: String = arguments.chars().take(120).collect();
    (within || named).then(|| format!("process {pid} ({short})"))
}

/// Waits until no process has to do with `dir`.
pub(crate) async fn no_process(dir: &Path) -> Result {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = processes(dir);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let left: Vec<_> = left.into_iter().map(|trace| trace.what).collect();
            return Err(Failure::broken(format!("left behind: {}", left.join(", "))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until there is nothing at `path`.
pub(crate) async fn no_file(path: &Path) -> Result {
    let deadline = Instant::now() + GONE_WITHIN;
    while path.symlink_metadata().is_ok() {
        if Instant::now() > deadline {
            let held = files(path);
            return Err(Failure::broken(format!("left behind: {}: {held:?}", path.display())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// All files, sockets and directories below `dir`, relative to it; empty if it is none.
pub(crate) fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path.clone());
            }
            found.extend(path.strip_prefix(dir).ok().map(Path::to_owned));
        }
    }
    found
}

/// After a case: fails if a process of it is left, and ends that.
pub(crate) async fn clear(scratch: &Path) -> Result {
    let left = no_process(scratch).await;
    if left.is_err() {
        for trace in processes(scratch) {
            kill(trace.pid);
        }
    }
    left
}

/// Ends a process, if it is there.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        && let Ok(fd) = pidfd_open(pid, PidfdFlags::empty())
    {
        let _ = pidfd_send_signal(fd, Signal::KILL);
    }
}
