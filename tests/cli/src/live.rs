//! A call of the program that is under way.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::Outcome;

/// How long a guest may take to boot and say something.
const FIRST_WORDS: Duration = Duration::from_secs(120);

/// A call of the program that is under way.
#[derive(Debug)]
pub struct Live {
    child: Child,
    line: String,
    name: String,
    started: Instant,
    stdin: Option<ChildStdin>,
    feeder: Option<JoinHandle<()>>,
    stdout: Stream,
    stderr: Stream,
}

impl Live {
    pub(crate) fn new(
        mut child: Child,
        line: String,
        name: String,
        input: Option<Vec<u8>>,
    ) -> Self {
        let stdout = Stream::new(child.stdout.take().expect("standard output is a pipe"));
        let stderr = Stream::new(child.stderr.take().expect("standard error is a pipe"));
        let mut stdin = child.stdin.take();
        let feeder = input.map(|bytes| {
            let stdin = stdin.take();
            // That nobody reads it to its end is for the test to judge.
            thread::spawn(move || drop(stdin.map(|mut stdin| stdin.write_all(&bytes))))
        });
        let started = Instant::now();
        Self { child, line, name, started, stdin, feeder, stdout, stderr }
    }

    /// The workspace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until standard output holds `text`.
    ///
    /// # Panics
    /// Where it ends, or too much time passes, without.
    pub fn wait_for(&mut self, text: &str) {
        let seen = self.stdout.wait_for(text.as_bytes(), FIRST_WORDS);
        if !seen {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
        let [stdout, stderr] = [stdout, stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        assert!(seen, "{}: waited for {text:?}, got {stdout:?}, stderr {stderr}", self.line);
    }

    /// What has come on standard output until now.
    pub fn stdout_so_far(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// Where that is not held or closed.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is held");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("write to standard input");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends a signal to its process group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where that takes longer than `limit`; it is killed then.
    pub fn finish_within(mut self, limit: Duration) -> Outcome {
        let ended = self.ends_within(limit);
        if !ended {
            self.signal_group(Signal::KILL);
        }
        let status = self.child.wait().expect("wait for the program");
        let took = self.started.elapsed();
        drop(self.stdin.take());
        if ended {
            // Whoever of its children still holds a stream is a leftover, not a reason to
            // wait for ever.
            self.stdout.wait_for_end(Duration::from_secs(5));
            self.stderr.wait_for_end(Duration::from_secs(5));
            drop(self.feeder.take());
        }
        let stdout = self.stdout.so_far();
        let stderr = self.stderr.so_far();
        let outcome = Outcome { line: self.line.clone(), status, stdout, stderr, took };
        assert!(ended, "not ended within {limit:?}: {}", outcome.text());
        outcome
    }

    /// Waits for its end, as long as one call may take.
    ///
    /// # Panics
    /// Where it takes longer.
    pub fn finish(self) -> Outcome {
        self.finish_within(FIRST_WORDS)
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let pid = Pid::from_raw(self.pid()).expect("a process has an id");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("open the process");
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a deadline of minutes");
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                Err(error) => panic!("cannot wait: {error}"),
            }
        }
    }
}

/// Everything that has been read from a pipe until now.
#[derive(Debug, Clone)]
struct Stream {
    shared: Arc<(Mutex<Content>, Condvar)>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Content::default()), Condvar::new()));
        let stream = Self { shared };
        let filled = stream.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut content = filled.lock();
                content.bytes.extend_from_slice(&buffer[..count]);
                content.ended = count == 0;
                filled.shared.1.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        stream
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Content> {
        self.shared.0.lock().expect("no reader panics")
    }

    fn so_far(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    fn wait_for(&self, text: &[u8], limit: Duration) -> bool {
        let found = |content: &Content| content.bytes.windows(text.len()).any(|w| w == text);
        let waiting = |content: &mut Content| !content.ended && !found(content);
        let (lock, changed) = &*self.shared;
        let content = lock.lock().expect("no reader panics");
        let waited = changed.wait_timeout_while(content, limit, waiting);
        found(&waited.expect("no reader panics").0)
    }

    fn wait_for_end(&self, limit: Duration) {
        let (lock, changed) = &*self.shared;
        let content = lock.lock().expect("no reader panics");
        drop(changed.wait_timeout_while(content, limit, |content| !content.ended));
    }
}
