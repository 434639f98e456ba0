//! Killing at the n-th call.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use microagent_tests_cli::{Invocation, Outcome, until};

/// Calls that change a file, or say something to somebody.
const CALLS: &str = "write,pwrite64,writev,sendto,sendmsg,ftruncate,fallocate,copy_file_range,\
                     sendfile,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,\
                     unlinkat,mkdir,mkdirat,rmdir,mknodat,fsync,fdatasync,fchmod,fchmodat";

/// How long a call may take that is watched, and what was started by it may take to be seen.
const DEADLINE: Duration = Duration::from_secs(120);

/// What kills.
pub(crate) struct Killer {
    trace: PathBuf,
}

/// What became of the process that was called.
pub(crate) enum Struck {
    /// It came to its end.
    Survived(Outcome),
    /// It was killed.
    Killed,
}

/// The call of a process that is its last one.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    call: String,
    nth: usize,
}

impl Last {
    /// Whether it is among the first so many of its kind.
    pub(crate) fn is_within(&self, most: usize) -> bool {
        self.nth <= most
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.nth)
    }
}

impl Killer {
    pub(crate) fn new(trace: PathBuf) -> Self {
        Self { trace }
    }

    /// Calls the program, watched and left alone.
    pub(crate) fn watch(&self, call: &Invocation) -> Struck {
        self.call(call, &[])
    }

    /// Calls the program, and has a call of every process of it be its last one.
    pub(crate) fn strike(&self, call: &Invocation, last: &Last) -> Struck {
        self.call(call, &[format!("--inject={}:signal=KILL:when={}", last.call, last.nth)])
    }

    fn call(&self, call: &Invocation, more: &[String]) -> Struck {
        let words = call.command();
        let mut command = Command::new("strace");
        command
            // It watches from aside, so that it does not keep what it watches from being waited
            // for, and goes on with what outlives the call.
            .args(["-DDD", "--follow-forks", "--quiet=attach", "--output"])
            .arg(&self.trace)
            .arg(format!("--trace={CALLS}"))
            .args(more)
            .arg(words.get_program())
            .args(words.get_args());
        command.env_clear();
        command.envs(words.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.current_dir(words.get_current_dir().expect("it has a directory"));
        let [out, err] = ["out", "err"].map(|end| self.trace.with_extension(end));
        let stream = |path: &PathBuf| Stdio::from(File::create(path).expect("make a file"));
        command.stdin(Stdio::null()).stdout(stream(&out)).stderr(stream(&err));
        let line = format!("{command:?}");
        let started = Instant::now();
        let mut child = command.spawn().expect("start strace");
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for the program") {
                break status;
            }
            assert!(started.elapsed() < DEADLINE, "still running: {line}");
            thread::sleep(Duration::from_millis(5));
        };
        let [stdout, stderr] = [out, err].map(|path| fs::read(path).expect("read a file"));
        match status.code() {
            None => Struck::Killed,
            Some(_) => {
                Struck::Survived(Outcome { line, status, stdout, stderr, took: started.elapsed() })
            }
        }
    }

    /// What was seen, once all that were watched have ended or rest.
    fn seen(&self) -> String {
        let mut seen = String::new();
        let settled = || {
            let now = fs::read_to_string(&self.trace).unwrap_or_default();
            let same = now == seen;
            seen.clone_from(&now);
            if same { Ok(()) } else { Err("it is still being written".to_owned()) }
        };
        until(DEADLINE, settled).expect("it comes to rest");
        seen
    }

    /// How many processes were killed.
    pub(crate) fn killed(&self) -> usize {
        // A call whose process was killed in it has no result.
        self.seen().lines().filter(|line| line.ends_with("= ?")).count()
    }

    /// All calls of a course, each as the last one.
    pub(crate) fn calls(&self) -> Vec<Last> {
        let mut by_process = BTreeMap::<(String, String), usize>::new();
        for line in self.seen().lines() {
            // `PID NAME(...`; what is resumed was counted when it began.
            let (process, rest) = line.split_once(' ').unwrap_or_default();
            let name = rest.trim_start().split('(').next().unwrap_or_default();
            if CALLS.split(',').any(|call| call == name) {
                *by_process.entry((name.to_owned(), process.to_owned())).or_default() += 1;
            }
        }
        let mut most = BTreeMap::<String, usize>::new();
        for ((name, _), count) in by_process {
            let known = most.entry(name).or_default();
            *known = count.max(*known);
        }
        let each = |(call, count): (String, usize)| {
            (1..=count).map(move |nth| Last { call: call.clone(), nth })
        };
        most.into_iter().flat_map(each).collect()
    }
}
