//! What programs say, made safe to print.

/// Most that is quoted of what a program says, in characters.
const MAX_QUOTED: usize = 1000;

/// The text on one line, without control characters and not too long.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MAX_QUOTED).collect()
}

/// The last line of a log as the end of an error message; nothing if there is none.
pub(crate) fn last_line(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let mut lines = log.lines().map(one_line);
    match lines.rfind(|line| !line.is_empty()) {
        Some(line) => format!("; it said last: {line}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_safe_to_print() {
        assert_eq!(one_line("a\x1b[31m\n\tb  c"), "a [31m b c");
        assert_eq!(one_line(&"x".repeat(5000)).len(), MAX_QUOTED);
        assert_eq!(last_line(b"first\nlast\n\n"), "; it said last: last");
        assert_eq!(last_line(b"\n"), "");
    }
}
