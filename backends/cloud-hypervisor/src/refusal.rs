//! Errors that Cloud Hypervisor gives rise to: what it refuses, and that it ended too early.

use microagent_backend::{Error, ErrorKind};
use microagent_guarded::{in_words, one_line};
use microagent_vmm_protocol::ChildExit;

use crate::limits::MAX_QUOTED;

/// A request that was refused, with a status and in words of its own.
pub(crate) fn refused(what: &str, status: u16, words: &str) -> Error {
    let by_status = match status {
        400 => ErrorKind::Protocol,
        404 | 405 => ErrorKind::InvalidState,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Exhausted,
        _ => ErrorKind::Crashed,
    };
    let words = if words.is_empty() { "without a word" } else { words };
    let message = format!("cloud-hypervisor refused to {what}: {words} (status {status})");
    with_hint(by_status, words, message)
}

/// It ended instead of building a machine.
pub(crate) fn ended_early(exit: &ChildExit) -> Error {
    let words = one_line(&exit.last_words);
    let message = format!("cloud-hypervisor ended before the guest ran: {}", in_words(exit));
    with_hint(ErrorKind::Crashed, &words, message)
}

/// The guard could not start it.
pub(crate) fn not_started(message: &str) -> Error {
    let message = format!("cloud-hypervisor could not be started: {}", quoted(message));
    Error::new(ErrorKind::Unavailable, message)
}

/// What a peer said, as a line of bounded length.
pub(crate) fn quoted(text: &str) -> String {
    let mut end = text.len().min(MAX_QUOTED);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    one_line(&text[..end])
}

/// Some kinds are told by words alone.
fn with_hint(otherwise: ErrorKind, words: &str, message: String) -> Error {
    let has = |text: &str| words.contains(text);
    let (kind, hint) = if has("already locked") || has("LockDiskImage") {
        (ErrorKind::Conflict, Some("a disk is in use by another machine: end that first"))
    } else if has("Cannot allocate memory") || has("Out of memory") {
        (ErrorKind::Exhausted, Some("ask for less memory"))
    } else if has("No space left") || has("Too many open files") {
        (ErrorKind::Exhausted, None)
    } else {
        (otherwise, None)
    };
    hint.into_iter().fold(Error::new(kind, message), Error::with_hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_kinds() {
        let check = |status, words: &str, expect| {
            let error = refused("start", status, words);
            assert_eq!(error.kind, expect, "{error}");
            assert!(error.message.contains(&format!("(status {status})")), "{error}");
        };
        check(500, "Error from API; The VM could not boot", ErrorKind::Crashed);
        check(500, "", ErrorKind::Crashed);
        check(400, "Bad Request", ErrorKind::Protocol);
        check(404, "VM is not created", ErrorKind::InvalidState);
        check(409, "identifier vsock is not unique", ErrorKind::Conflict);
        check(500, "The file is already locked", ErrorKind::Conflict);
        check(500, "x; Cannot allocate memory (os error 12)", ErrorKind::Exhausted);
        check(429, "", ErrorKind::Exhausted);
    }

    #[test]
    fn early_ends_quote_the_last_words() {
        let (by_guard, by_event, panic) = Default::default();
        let last_words = "Error: a\n  b\x1b[1m\n".to_owned();
        let exit = ChildExit { code: Some(1), signal: None, by_guard, by_event, panic, last_words };
        let error = ended_early(&exit);
        assert_eq!(error.kind, ErrorKind::Crashed);
        let expect = "cloud-hypervisor ended before the guest ran: Error: a; b?[1m (exit code 1)";
        assert_eq!(error.message, expect);
    }

    #[test]
    fn quotes_are_short_lines() {
        let text = quoted(&format!("a\nb\x1b{}", "\u{e9}".repeat(MAX_QUOTED)));
        assert!(text.starts_with("a; b?\u{e9}") && text.len() <= MAX_QUOTED + 8, "{text}");
    }
}
