//! What the guest sees of an image is what an independent unpacker makes of it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use microagent_tests_cli::images::{debian, whiteouts};
use microagent_tests_cli::listing::{BUSYBOX, GNU, differences};
use microagent_tests_cli::{Outcome, Sandbox};

/// What cannot be as the unpacker has it, with the reason.
const EXPLAINED: [(&str, &str); 1] = [
    // None of a record's differences may be explained away silently: a line here is the
    // beginning of the record and why that difference is right.
    ("names + lost+found", "where e2fsck puts what it finds; it belongs to the file system"),
];

fn check(outcome: &Outcome, expected: &str) {
    outcome.code(0).is_silent();
    let guest = String::from_utf8(outcome.stdout.clone()).expect("names of the image are UTF-8");
    let explained = |line: &String| EXPLAINED.iter().any(|(start, _)| line.starts_with(start));
    let found = differences(expected, &guest);
    let found: Vec<_> = found.into_iter().filter(|line| !explained(line)).collect();
    let shown = found.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "{} differences:\n{shown}", found.len());
}

#[test]
fn a_debian_is_in_the_guest_as_umoci_unpacks_it() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), debian()) else { return };
    let script = format!("cd /\n{GNU}");
    let arguments = ["--image", &image.reference(), "-u", "root", "--exec", &script];
    check(&sandbox.run(&arguments).output(), &image.expected());
}

#[test]
fn whiteouts_hide_exactly_what_umoci_has_them_hide() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), whiteouts()) else { return };
    let script = format!("cd /\n{BUSYBOX}");
    let arguments = ["--image", &image.reference(), "--exec", &script];
    check(&sandbox.run(&arguments).output(), &image.expected());
}
