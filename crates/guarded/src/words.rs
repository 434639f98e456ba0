//! What processes said, as it stands in errors.

use microagent_vmm_protocol::ChildExit;

/// A text of several lines as one.
pub fn one_line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").replace(|c: char| c.is_control(), "?")
}

/// How a process ended, with what it said last.
pub fn in_words(exit: &ChildExit) -> String {
    let end = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it would not end".into(),
    };
    match one_line(&exit.last_words) {
        words if words.is_empty() => end,
        words => format!("{words} ({end})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_words() {
        let check = |code, signal, words: &str, expect: &str| {
            let last_words = words.to_owned();
            let (by_guard, by_event, panic) = Default::default();
            let exit = ChildExit { code, signal, by_guard, by_event, panic, last_words };
            assert_eq!(in_words(&exit), expect);
        };
        check(Some(1), None, "", "exit code 1");
        check(None, Some(9), "a\n\n b\x1b[1m\n", "a; b?[1m (signal 9)");
        check(None, None, "", "it would not end");
    }
}
