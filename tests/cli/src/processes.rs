//! Processes of this machine, as `/proc` shows them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// The id of its parent.
    pub parent: i32,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Process {
    /// The file name of its program, as it was started.
    pub fn program(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Sends it a signal. That it is gone already is fine.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// All other processes that name `path` or something in it in their arguments, work in it,
/// or have something in it open.
pub fn mentioning(path: &Path) -> Vec<Process> {
    let Some(text) = path.to_str() else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id().cast_signed();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| read(pid, text)).collect()
}

fn read(pid: i32, text: &str) -> Option<Process> {
    let dir = format!("/proc/{pid}");
    let cmdline = fs::read(format!("{dir}/cmdline")).ok()?;
    let arguments: Vec<String> = cmdline
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let within = |link: &str| {
        fs::read_link(link).is_ok_and(|target| target.to_string_lossy().starts_with(text))
    };
    let open = || {
        let files = fs::read_dir(format!("{dir}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| within(&file.path().to_string_lossy()))
    };
    let named = arguments.iter().any(|argument| argument.contains(text));
    if !(named || within(&format!("{dir}/cwd")) || open()) {
        return None;
    }
    Some(Process { pid, parent: parent(&dir)?, arguments })
}

/// The parent's id; none for a process that has ended and only waits to be collected.
fn parent(dir: &str) -> Option<i32> {
    let stat = fs::read_to_string(format!("{dir}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}
