//! Programs that are killed at each of their writes, and what the next command finds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Live, Process, Sandbox, mentioning, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::Signal;

/// More writes than any command makes.
const MOST: usize = 60;

/// How many of a shim's writes are tried: each costs a boot.
const OF_A_SHIM: usize = 10;

/// How long a program may take from one write to the next.
const NEXT_WRITE: Duration = Duration::from_secs(60);

/// What is made, renamed and removed in directories.
struct Writes {
    notify: OwnedFd,
    seen: usize,
}

impl Writes {
    fn new() -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Self { notify: inotify::init(flags).unwrap(), seen: 0 }
    }

    fn of(&self, directory: &Path) {
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::DELETE;
        // What is gone already makes none.
        let _ = inotify::add_watch(&self.notify, directory, flags);
    }

    /// Waits for this many in all, at most as long as `goes_on` says; whether they came.
    fn wait_for(&mut self, count: usize, within: &[&Path], goes_on: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + NEXT_WRITE;
        while self.seen < count {
            within.iter().for_each(|directory| self.of(directory));
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(&self.notify, &mut buffer);
            while reader.next().is_ok() {
                self.seen += 1;
            }
            if self.seen >= count {
                return true;
            }
            if !goes_on() || Instant::now() > deadline {
                return false;
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            poll(&mut [PollFd::new(&self.notify, PollFlags::IN)], Some(&wait)).unwrap();
        }
        true
    }
}

fn runs(live: &Live) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", live.pid())).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[test]
fn a_create_that_is_killed_at_any_write_leaves_a_workspace_or_nothing() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let image = image.reference("plain");
    // What is shared by all is made first.
    let first = sandbox.new_name();
    sandbox.call(&["create", "--image", &image, "--name", &first]).output().code(0);
    sandbox.call(&["delete", &first]).output().code(0);
    let mut points = 0;
    for point in 1..MOST {
        let name = sandbox.new_name();
        let mut writes = Writes::new();
        let directory = sandbox.workspace(&name);
        let live = sandbox.call(&["create", "--image", &image, "--name", &name]).start();
        let all = [directory.parent().unwrap(), &directory];
        let killed = writes.wait_for(point, &all, || runs(&live));
        live.signal(Signal::KILL);
        live.finish();
        points += 1;
        let pruned = sandbox.call(&["prune"]).output();
        pruned.code(0);
        let object = sandbox.call(&["list", "--json"]).output().code(0).json();
        for listed in object["workspaces"].as_array().unwrap() {
            assert_eq!(listed["state"], "created", "point {point}: {listed}");
        }
        // Its name can be used either way.
        sandbox.call(&["delete", &name]).output().code(0);
        assert!(!directory.exists(), "point {point}");
        if !killed {
            break;
        }
    }
    println!("{points} points of create");
    assert!((3..MOST - 1).contains(&points), "{points}");
}

fn shim(directory: &Path) -> Option<Process> {
    let is_shim = |process: &Process| process.arguments.iter().any(|word| word == "shim");
    mentioning(directory).into_iter().find(is_shim)
}

#[test]
fn a_shim_that_is_killed_at_any_write_is_followed_by_another() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let image = image.reference("plain");
    let name = sandbox.new_name();
    sandbox.call(&["create", "--image", &image, "--name", &name]).output().code(0);
    let directory = sandbox.workspace(&name);
    let run = directory.join("run");
    for point in (1..=OF_A_SHIM).map(|point| point * 2) {
        let mut writes = Writes::new();
        writes.of(&directory);
        let live = sandbox.call(&["start", "--wait", &name]).start();
        writes.wait_for(point, &[&directory, &run], || runs(&live));
        if let Some(shim) = shim(&directory) {
            shim.signal(Signal::KILL);
        }
        // It says that it did not come up, or had been told that it did.
        live.finish();
        // At the first writes there is none yet.
        if let Some(shim) = shim(&directory) {
            shim.signal(Signal::KILL);
        }
        let gone = || if shim(&directory).is_none() { Ok(()) } else { Err("the shim is there") };
        until(Duration::from_secs(10), gone).unwrap();
        let state = sandbox.call(&["status", "--json", &name]).output().code(0).json();
        let state = state["state"].as_str().unwrap().to_owned();
        assert!(["created", "stopped", "failed"].contains(&&*state), "point {point}: {state}");
        sandbox.call(&["start", "--wait", &name]).output().code(0);
        sandbox.call(&["exec", &name, "true"]).output().code(0);
        sandbox.call(&["halt", &name]).output().code(0);
        assert_eq!(mentioning(&directory), [], "left behind at point {point}");
        assert!(!run.exists(), "point {point}");
    }
    sandbox.call(&["prune", "--resting"]).output().code(0).shows(&[&name]);
}
