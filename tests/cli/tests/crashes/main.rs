//! Whatever process of microagent is killed at whatever write: what the next command finds is
//! whole or said to be broken, it can be started again, and `prune` brings the host to clean.
//!
//! `strace` counts the calls that change a file or say something, and kills: whichever process
//! comes to the n-th of its kind, for each kind and each n. Machines are processes of this host,
//! with the real agent in each; on a hypervisor, where each costs two boots, there are a few.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod killer;

use std::time::{Duration, Instant};

use killer::{Killer, Last, Struck};
use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Invocation, Sandbox, Setting, tools, until};
use serde_json::Value;

/// Fewest processes that are killed.
const LEAST: usize = 200;

/// How many crashes there are on a hypervisor.
const ON_A_HYPERVISOR: usize = 10;

/// A hypervisor goes on writing as long as it lives; what all others do comes before that.
const EARLY: usize = 12;

/// How long the crashes on a hypervisor may take before the next is not begun.
const FOR_ALL: Duration = Duration::from_secs(300);

/// Where a workspace is before what is killed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Created,
    Running,
}

/// A way to do something to a workspace, in the course of which processes are killed.
struct Course {
    name: &'static str,
    before: Before,
    /// The first is watched and killed, and all that it starts; the others follow it.
    calls: &'static [&'static [&'static str]],
}

/// `NAME` stands for the workspace's name, `COPY` for another, `IMAGE` for the image, `NETWORK`
/// for one that the supervisor offers.
const COURSES: &[Course] = &[
    Course {
        name: "create",
        before: Before::Nothing,
        calls: &[&["create", "--network", "NETWORK", "--image", "IMAGE", "--name", "NAME"]],
    },
    Course {
        name: "a life",
        before: Before::Created,
        calls: &[
            &["start", "--wait", "NAME"],
            &["exec", "NAME", "true"],
            &["pause", "NAME"],
            &["resume", "NAME"],
            &["halt", "NAME"],
        ],
    },
    Course { name: "exec", before: Before::Running, calls: &[&["exec", "NAME", "echo", "hi"]] },
    Course { name: "halt", before: Before::Running, calls: &[&["halt", "NAME"]] },
    Course { name: "kill", before: Before::Running, calls: &[&["kill", "NAME"]] },
    Course { name: "clone", before: Before::Created, calls: &[&["clone", "NAME", "COPY"]] },
    Course { name: "delete", before: Before::Created, calls: &[&["delete", "NAME"]] },
    Course {
        name: "delete by force",
        before: Before::Running,
        calls: &[&["delete", "--force", "NAME"]],
    },
    Course { name: "prune", before: Before::Created, calls: &[&["prune", "--resting"]] },
];

/// A sandbox in which workspaces are crashed.
struct Scene {
    sandbox: Sandbox,
    image: String,
    supervisor: String,
    network: &'static str,
    killer: Killer,
}

impl Scene {
    fn new(image: &Busybox, supervisor: &str, network: &'static str) -> Option<Self> {
        let sandbox = Sandbox::new()?;
        let killer = Killer::new(sandbox.file("trace"));
        let (image, supervisor) = (image.reference("plain"), supervisor.to_owned());
        Some(Self { sandbox, image, supervisor, network, killer })
    }

    fn call(&self, words: &[&str]) -> Invocation {
        self.sandbox.call(words).env("MICROAGENT_SUPERVISOR", &self.supervisor)
    }

    /// The words of a call, for the workspace `name`.
    fn words<'a>(&'a self, words: &[&'a str], name: &'a str, copy: &'a str) -> Vec<&'a str> {
        let meant = |word: &&'a str| match *word {
            "NAME" => name,
            "COPY" => copy,
            "IMAGE" => &self.image,
            "NETWORK" => self.network,
            word => word,
        };
        words.iter().map(meant).collect()
    }

    fn create(&self, name: &str) {
        let create = ["create", "--network", self.network, "--image", &self.image, "--name", name];
        self.call(&create).output().code(0);
    }

    fn prepare(&self, before: Before, name: &str) {
        if before != Before::Nothing {
            self.create(name);
        }
        if before == Before::Running {
            self.call(&["start", "--wait", name]).output().code(0);
        }
    }

    /// The calls that are made in a course, which nobody disturbs.
    fn calls(&self, course: &Course) -> Vec<Last> {
        let (name, copy) = (self.sandbox.new_name(), self.sandbox.new_name());
        self.prepare(course.before, &name);
        let (first, rest) = course.calls.split_first().expect("a course has calls");
        let first = self.killer.watch(&self.call(&self.words(first, &name, &copy)));
        assert!(matches!(first, Struck::Survived(outcome) if outcome.status.success()));
        for call in rest {
            self.call(&self.words(call, &name, &copy)).output().code(0);
        }
        let calls = self.killer.calls();
        self.make_good(&name, course.name);
        calls
    }

    /// Goes through a course in which a call of every process is its last one, and makes good
    /// what comes of it; how many processes were killed.
    fn strike(&self, course: &Course, last: &Last) -> usize {
        let (name, copy) = (self.sandbox.new_name(), self.sandbox.new_name());
        self.prepare(course.before, &name);
        let (first, rest) = course.calls.split_first().expect("a course has calls");
        let struck = self.killer.strike(&self.call(&self.words(first, &name, &copy)), last);
        for call in rest {
            // It may find nothing any more to do this to.
            self.call(&self.words(call, &name, &copy)).output();
        }
        let killed = self.killer.killed();
        if let (Struck::Survived(outcome), 0) = (&struck, killed) {
            outcome.code(0);
        }
        self.make_good(&name, &format!("{} at {last}", course.name));
        killed
    }

    /// Looks, repairs, uses and removes.
    fn make_good(&self, name: &str, doing: &str) {
        let list = self.call(&["list", "--json"]).output().code(0).json();
        for found in list["workspaces"].as_array().expect("a list of workspaces") {
            self.whole(found, doing);
        }
        let known = list["workspaces"].as_array().is_some_and(|all| {
            all.iter().any(|found| found["workspace"] == name || found["name"] == name)
        });
        if !known {
            self.create(name);
        }
        let started = self.call(&["start", "--wait", name]).output();
        assert!(started.status.success(), "after {doing}: {}", started.text());
        self.call(&["exec", name, "true"]).output().code(0);
        let status = self.call(&["status", "--json", name]).output().code(0).json();
        assert_eq!(status["state"], "running", "{doing}: {status}");
        self.call(&["halt", name]).output().code(0);
        self.call(&["prune", "--resting"]).output().code(0);
        let clean = || match self.sandbox.leftovers() {
            Ok(()) => Ok(()),
            Err(left) => Err(format!("{doing} left:\n{left}")),
        };
        if let Err(left) = until(Duration::from_secs(10), clean) {
            panic!("{left}");
        }
    }

    /// What is listed is in a state that there is, or says what is wrong with it.
    fn whole(&self, found: &Value, doing: &str) {
        let states = ["created", "starting", "running", "paused", "stopping", "stopped", "failed"];
        let state = found["state"].as_str().unwrap_or_default();
        let told = found["error"]["message"].is_string();
        assert!(states.contains(&state) || told, "{doing}: {found}");
    }

    /// All of a course's crashes, one after the other; how many there were.
    fn crash(&self, course: &Course) -> usize {
        let calls = self.calls(course);
        let crashes = calls.iter().map(|last| self.strike(course, last)).sum();
        println!("{}: {crashes} crashes at {} calls", course.name, calls.len());
        crashes
    }
}

#[test]
fn without_a_hypervisor_at_every_write() {
    if !tools(&["strace"]) {
        return;
    }
    let Some(image) = busybox() else { return };
    let supervisor = env!("CARGO_BIN_EXE_hosted-supervisor");
    let course = |course: &'static Course| {
        std::thread::spawn(move || {
            Scene::new(image, supervisor, "isolated").map(|scene| scene.crash(course))
        })
    };
    // Each in a place of its own, a few at a time.
    let mut crashes = 0;
    for some in COURSES.chunks(3) {
        let all: Vec<_> = some.iter().map(course).collect();
        for course in all {
            crashes += course.join().expect("no course fails").unwrap_or_default();
        }
    }
    assert!(crashes >= LEAST, "only {crashes} crashes");
}

#[test]
fn on_a_hypervisor_at_some_writes() {
    if !tools(&["strace"]) {
        return;
    }
    let (Some(image), Some(setting)) = (busybox(), Setting::get()) else { return };
    let Some(scene) = Scene::new(image, &setting.supervisor, "user") else { return };
    let course = COURSES.iter().find(|course| course.name == "a life").unwrap();
    let mut calls = scene.calls(course);
    calls.retain(|last| last.is_within(EARLY));
    // Each kind, and early and late ones, before any that is beside one of them.
    let step = calls.len().div_ceil(ON_A_HYPERVISOR);
    let spread = (0..step).flat_map(|first| calls.iter().skip(first).step_by(step));
    let began = Instant::now();
    let mut crashes = 0;
    for last in spread {
        // No process may come to it this time.
        let killed = scene.strike(course, last);
        println!("{last}: {killed} killed, {:.0?} since the first", began.elapsed());
        crashes += usize::from(killed > 0);
        if crashes == ON_A_HYPERVISOR || began.elapsed() > FOR_ALL {
            break;
        }
    }
    assert!(crashes == ON_A_HYPERVISOR, "only {crashes} crashes in {:.0?}", began.elapsed());
}
