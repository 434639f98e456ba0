//! How a command ended and what it wrote, and in what two of them differ.

use serde::{Deserialize, Serialize};

use super::recorder::Stream;

/// How much of what differs is shown, in bytes.
const SHOWN: usize = 60;

/// How a command ended and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The exit code that `run` would have given.
    pub(crate) exit_code: u8,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: Stream,
    /// Its standard error.
    pub(crate) stderr: Stream,
}

/// An outcome as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportedOutcome {
    pub(crate) exit_code: u8,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: ReportedStream,
    pub(crate) stderr: ReportedStream,
}

/// A stream as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportedStream {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// One thing in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    /// `exit_code`, `signal`, `stdout` or `stderr`.
    pub(crate) of: String,
    /// In which byte of a stream, counted from 0; none where it lies behind what is kept.
    pub(crate) offset: Option<u64>,
    /// One run and what it has there: text from the byte that differs on, with what cannot be
    /// printed escaped.
    pub(crate) left: Side,
    /// The other.
    pub(crate) right: Side,
}

/// What one of two runs has that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Side {
    /// On which supervisor it ran.
    pub(crate) supervisor: String,
    /// In which round, counted from 1.
    pub(crate) round: u32,
    /// What it has: the value, or a piece of the stream.
    pub(crate) value: String,
    /// SHA-256 of the stream.
    pub(crate) sha256: Option<String>,
}

/// A run whose outcome is held against another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran<'a> {
    pub(crate) supervisor: &'a str,
    pub(crate) round: u32,
    pub(crate) outcome: &'a Outcome,
}

impl From<&Outcome> for ReportedOutcome {
    fn from(outcome: &Outcome) -> Self {
        let Outcome { exit_code, signal, stdout, stderr } = outcome;
        let stream = |s: &Stream| ReportedStream { bytes: s.length, sha256: s.sha256.clone() };
        let (stdout, stderr) = (stream(stdout), stream(stderr));
        Self { exit_code: *exit_code, signal: *signal, stdout, stderr }
    }
}

/// Everything in which two runs differ, byte for byte.
pub(crate) fn differences(left: Ran<'_>, right: Ran<'_>) -> Vec<Difference> {
    let (l, r) = (left.outcome, right.outcome);
    let signal = |signal: Option<i32>| signal.map_or("none".to_owned(), |n| n.to_string());
    let found = [
        value("exit_code", (left, l.exit_code.to_string()), (right, r.exit_code.to_string())),
        value("signal", (left, signal(l.signal)), (right, signal(r.signal))),
        stream("stdout", (left, &l.stdout), (right, &r.stdout)),
        stream("stderr", (left, &l.stderr), (right, &r.stderr)),
    ];
    found.into_iter().flatten().collect()
}

fn value(of: &str, left: (Ran<'_>, String), right: (Ran<'_>, String)) -> Option<Difference> {
    if left.1 == right.1 {
        return None;
    }
    let side = |(ran, value): (Ran<'_>, String)| Side {
        supervisor: ran.supervisor.to_owned(),
        round: ran.round,
        value,
        sha256: None,
    };
    Some(Difference { of: of.into(), offset: None, left: side(left), right: side(right) })
}

fn stream(of: &str, left: (Ran<'_>, &Stream), right: (Ran<'_>, &Stream)) -> Option<Difference> {
    if left.1.sha256 == right.1.sha256 && left.1.length == right.1.length {
        return None;
    }
    let at = first_difference(left.1, right.1);
    let side = |(ran, stream): (Ran<'_>, &Stream)| Side {
        supervisor: ran.supervisor.to_owned(),
        round: ran.round,
        value: at.map_or_else(String::new, |at| piece(&stream.kept, at)),
        sha256: Some(stream.sha256.clone()),
    };
    let offset = at.map(|at| at as u64);
    Some(Difference { of: of.into(), offset, left: side(left), right: side(right) })
}

/// The first byte that is not the same in both, as far as they are kept.
fn first_difference(left: &Stream, right: &Stream) -> Option<usize> {
    let (l, r) = (&left.kept, &right.kept);
    let differs = l.iter().zip(r).position(|(l, r)| l != r);
    differs.or_else(|| (l.len() != r.len()).then(|| l.len().min(r.len())))
}

fn piece(bytes: &[u8], at: usize) -> String {
    let end = bytes.len().min(at + SHOWN);
    bytes.get(at..end).unwrap_or_default().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_of(text: &[u8]) -> Stream {
        let sha256 = format!("sum of {}", text.escape_ascii());
        Stream { kept: text.into(), length: text.len() as u64, sha256 }
    }

    fn outcome(exit_code: u8, stdout: &[u8], stderr: &[u8]) -> Outcome {
        let signal = exit_code.checked_sub(128).map(i32::from);
        Outcome { exit_code, signal, stdout: stream_of(stdout), stderr: stream_of(stderr) }
    }

    fn check(left: &Outcome, right: &Outcome, expect: &[(&str, Option<u64>, &str, &str)]) {
        let ran = |supervisor, outcome| Ran { supervisor, round: 1, outcome };
        let got = differences(ran("a", left), ran("b", right));
        let got: Vec<_> =
            got.iter().map(|d| (&*d.of, d.offset, &*d.left.value, &*d.right.value)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn what_is_the_same_does_not_differ() {
        check(&outcome(0, b"out", b"err"), &outcome(0, b"out", b"err"), &[]);
    }

    #[test]
    fn the_first_byte_that_differs_is_found() {
        let left = outcome(0, b"line 1\nline 2\n", b"");
        check(
            &left,
            &outcome(0, b"line 1\nline 3\n", b"x"),
            &[("stdout", Some(12), r"2\n", r"3\n"), ("stderr", Some(0), "", "x")],
        );
        check(&left, &outcome(0, b"line 1\n", b""), &[("stdout", Some(7), r"line 2\n", "")]);
        let long = outcome(0, &[0xff; 100], b"");
        let shown = r"\xff".repeat(SHOWN);
        check(&long, &outcome(0, b"", b""), &[("stdout", Some(0), &shown, "")]);
    }

    #[test]
    fn ends_differ_in_code_and_signal() {
        check(&outcome(1, b"", b""), &outcome(2, b"", b""), &[("exit_code", None, "1", "2")]);
        check(
            &outcome(0, b"", b""),
            &outcome(137, b"", b""),
            &[("exit_code", None, "0", "137"), ("signal", None, "none", "9")],
        );
    }

    #[test]
    fn what_lies_behind_what_is_kept_differs_all_the_same() {
        let cut = |sha256: &str| Outcome {
            stdout: Stream { kept: b"same".into(), length: 9, sha256: sha256.into() },
            ..outcome(0, b"", b"")
        };
        check(&cut("1"), &cut("2"), &[("stdout", None, "", "")]);
    }
}
