//! What the guest sees of an image is what an independent unpacker makes of it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use microagent_tests_cli::images::{debian, whiteouts};
use microagent_tests_cli::listing::{BUSYBOX, GNU, differences};
use microagent_tests_cli::{Outcome, Sandbox};

/// Beginnings of differences that are right, with the reason. Nothing else may differ.
const EXPLAINED: [(&str, &str); 4] = [
    ("names + etc/hosts\t", "the image has none, so the agent wrote one, as container engines do"),
    ("sums + \u{7f}  ./etc/hosts", "the same"),
    ("names + ./etc/hosts|", "the same"),
    (
        "attributes + # file: ./srv/attributes/empty: user.empty=0x",
        "the library under umoci takes an attribute without a value for one that is removed",
    ),
];

/// A guest with a network has a resolver of its own in etc/resolv.conf.
const UNCONNECTED: [&str; 2] = ["--network", "isolated"];

/// A checksum, whatever it is, is written as one character of no meaning.
fn without_sum(line: &str) -> String {
    let sum = |word: &&str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    match line.split(' ').find(sum) {
        Some(sum) => line.replacen(sum, "\u{7f}", 1),
        None => line.to_owned(),
    }
}

/// The time of `etc` is that of `etc/hosts`, which is new there: all but the time must agree.
fn only_the_time_of_etc(found: &[String]) -> bool {
    let of_etc = |line: &&String| {
        let name = line.get("names + ".len()..).unwrap_or_default();
        name.starts_with("etc\t") || name.starts_with("./etc|")
    };
    let cut = |line: &String| {
        let end = line.rfind(['\t', '|']).unwrap_or(0);
        line["names + ".len()..end].to_owned()
    };
    let lines: Vec<_> = found.iter().filter(of_etc).map(cut).collect();
    lines.len() == 2 && lines[0] == lines[1]
}

fn check(outcome: &Outcome, expected: &str) {
    outcome.code(0).is_silent();
    let guest = String::from_utf8(outcome.stdout.clone()).expect("names of the image are UTF-8");
    let mut found = differences(expected, &guest);
    if only_the_time_of_etc(&found) {
        found.retain(|line| !line.contains(" etc\t") && !line.contains(" ./etc|"));
    }
    found.retain(|line| {
        let line = without_sum(line);
        !EXPLAINED.iter().any(|(start, _)| line.starts_with(start))
    });
    let shown = found.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "{} differences:\n{shown}", found.len());
}

#[test]
fn a_debian_is_in_the_guest_as_umoci_unpacks_it() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), debian()) else { return };
    let script = format!("cd /\n{GNU}");
    let arguments = ["--image", &image.reference(), "-u", "root", "--exec", &script];
    check(&sandbox.run(&arguments).args(&UNCONNECTED).output(), &image.expected());
}

#[test]
fn whiteouts_hide_exactly_what_umoci_has_them_hide() {
    let (Some(sandbox), Some(image)) = (Sandbox::new(), whiteouts()) else { return };
    let script = format!("cd /\n{BUSYBOX}");
    let arguments = ["--image", &image.reference(), "--exec", &script];
    check(&sandbox.run(&arguments).args(&UNCONNECTED).output(), &image.expected());
}
