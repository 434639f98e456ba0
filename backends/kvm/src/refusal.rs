//! Errors that a monitor gives rise to: what it refuses, and that it ended too early.

use microagent_backend::{Error, ErrorKind};
use microagent_guarded::{in_words, one_line};
use microagent_vmm_protocol::{ChildExit, ControlError, ControlErrorKind};

use crate::limits::MAX_MESSAGE;

/// A request that the monitor refused.
pub(crate) fn refused(what: &str, error: &ControlError) -> Error {
    let ControlError { kind, message } = error;
    let kind = match kind {
        ControlErrorKind::InvalidState => ErrorKind::InvalidState,
        ControlErrorKind::Protocol => ErrorKind::Protocol,
        ControlErrorKind::Io => ErrorKind::Io,
    };
    Error::new(kind, format!("the monitor refused to {what}: {}", quoted(message)))
}

/// The monitor ended instead of building a machine.
pub(crate) fn ended_early(exit: &ChildExit) -> Error {
    let words = one_line(&exit.last_words);
    let has = |text: &str| words.contains(text);
    let (kind, hint) = if has("is in use") {
        (ErrorKind::Conflict, Some("a disk is in use by another machine: end that first"))
    } else if has("Cannot allocate memory") {
        (ErrorKind::Exhausted, Some("ask for less memory"))
    } else if has("No space left") || has("Too many open files") {
        (ErrorKind::Exhausted, None)
    } else {
        (ErrorKind::Crashed, None)
    };
    let message = format!("the monitor ended before the guest ran: {}", in_words(exit));
    hint.into_iter().fold(Error::new(kind, message), Error::with_hint)
}

/// The guard could not start the monitor.
pub(crate) fn not_started(message: &str) -> Error {
    let message = format!("the monitor could not be started: {}", quoted(message));
    Error::new(ErrorKind::Unavailable, message)
}

/// What a peer said, as a line of bounded length.
fn quoted(text: &str) -> String {
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    one_line(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_short_lines() {
        let kind = ControlErrorKind::InvalidState;
        let message = format!("a\nb\x1b{}", "\u{e9}".repeat(MAX_MESSAGE));
        let error = refused("start", &ControlError { kind, message });
        assert_eq!(error.kind, ErrorKind::InvalidState);
        assert!(error.message.starts_with("the monitor refused to start: a; b?\u{e9}"));
        assert!(error.message.len() < MAX_MESSAGE + 64);
    }

    #[test]
    fn early_ends_have_kinds() {
        let check = |words: &str, expect| {
            let (code, signal) = (Some(1), None);
            let last_words = words.to_owned();
            let (by_guard, by_event, panic) = Default::default();
            let exit = ChildExit { code, signal, by_guard, by_event, panic, last_words };
            assert_eq!(ended_early(&exit).kind, expect, "{words}");
        };
        check("the image /d of disk \"d\" cannot be used: it is in use", ErrorKind::Conflict);
        check("cannot map guest memory: Cannot allocate memory", ErrorKind::Exhausted);
        check("cannot write: No space left on device", ErrorKind::Exhausted);
        check("no kernel", ErrorKind::Crashed);
    }
}
