//! Random commands from several processes at once, against what may follow what.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::thread;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Invocation, Sandbox, mentioning};

/// Threads that call at the same time, and how often each does.
const CALLERS: u64 = 3;
const CALLS: usize = 14;

/// Which state may follow which: the picture in docs/workspaces.md.
const FOLLOWS: [(&str, &[&str]); 8] = [
    ("", &["created"]),
    ("created", &["starting"]),
    ("starting", &["running", "stopping", "failed"]),
    ("running", &["paused", "stopping", "stopped", "failed"]),
    ("paused", &["running", "stopping", "failed"]),
    ("stopping", &["stopped", "failed"]),
    ("stopped", &["starting"]),
    ("failed", &["starting"]),
];

/// Commands, and the kinds of failure that each may end with whatever else is going on.
const COMMANDS: [(&[&str], &[&str]); 8] = [
    (&["start", "--wait"], &["invalid_state", "interrupted", "io"]),
    (&["start"], &["invalid_state"]),
    (&["halt"], &["crashed"]),
    (&["kill"], &[]),
    (&["pause"], &["invalid_state", "io"]),
    (&["resume"], &["invalid_state", "io"]),
    (&["restart"], &["invalid_state", "crashed"]),
    (&["status"], &[]),
];

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn judge(words: &[&str], call: Invocation, kinds: &[&str]) {
    let outcome = call.args(&["--json"]).output();
    let object = outcome.json();
    match outcome.status.code() {
        Some(0) => {}
        Some(125) => {
            let kind = object["error"]["kind"].as_str().unwrap_or_default();
            assert!(kinds.contains(&kind), "{words:?}: {}", outcome.text());
        }
        _ => panic!("{words:?}: {}", outcome.text()),
    }
}

/// What a file of events says happened, each after what may come before it.
fn check_path(events: &str) {
    let mut here = String::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let next = event["state"].as_str().unwrap();
        let (_, allowed) = FOLLOWS.iter().find(|(state, _)| *state == here).unwrap();
        assert!(allowed.contains(&next), "{here} was followed by {next}:\n{events}");
        here = next.to_owned();
    }
}

#[test]
fn whatever_is_asked_by_whom_only_what_may_follow_does() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let name = sandbox.new_name();
    let image = image.reference("plain");
    sandbox.call(&["create", "--image", &image, "--name", &name]).output().code(0);
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let mut numbers = Numbers(caller + 1);
            let calls: Vec<_> = (0..CALLS)
                .map(|_| {
                    let (words, kinds) = COMMANDS[numbers.below(COMMANDS.len())];
                    (words, sandbox.call(words).args(&[&name]), kinds)
                })
                .collect();
            scope.spawn(move || {
                for (words, call, kinds) in calls {
                    judge(words, call, kinds);
                }
            });
        }
    });
    // Whatever happened: it can be used, and brought to rest.
    judge(&["resume"], sandbox.call(&["resume", &name]), &["invalid_state"]);
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    sandbox.call(&["exec", &name, "true"]).output().code(0);
    sandbox.call(&["halt", &name]).output().code(0);
    assert!(mentioning(&sandbox.workspace(&name)).is_empty());
    check_path(&fs::read_to_string(sandbox.workspace(&name).join("events.jsonl")).unwrap());
    sandbox.call(&["delete", &name]).output().code(0);
}
