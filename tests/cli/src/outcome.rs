//! What came of a call of the program.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

/// What came of a call of the program.
#[derive(Debug)]
pub struct Outcome {
    /// The whole command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub took: Duration,
}

/// How much of each stream a failure shows, in bytes.
const SHOWN: usize = 4000;

impl Outcome {
    /// Fails unless the program exited with `code`.
    ///
    /// # Panics
    /// With everything that is known.
    pub fn code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "exit code of {}", self.text());
        self
    }

    /// Fails unless standard output is exactly this text.
    ///
    /// # Panics
    /// With everything that is known.
    pub fn prints(&self, text: &str) -> &Self {
        assert_eq!(self.stdout(), text, "standard output of {}", self.text());
        self
    }

    /// Fails unless standard output holds each of these.
    ///
    /// # Panics
    /// With everything that is known.
    pub fn shows(&self, parts: &[&str]) -> &Self {
        let stdout = self.stdout();
        for part in parts {
            assert!(stdout.contains(part), "no {part:?} in standard output of {}", self.text());
        }
        self
    }

    /// Fails unless standard error holds each of these.
    ///
    /// # Panics
    /// With everything that is known.
    pub fn says(&self, parts: &[&str]) -> &Self {
        let stderr = self.stderr();
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in standard error of {}", self.text());
        }
        self
    }

    /// Fails if anything is on standard error.
    ///
    /// # Panics
    /// With everything that is known.
    pub fn is_silent(&self) -> &Self {
        assert!(self.stderr.is_empty(), "standard error of {}", self.text());
        self
    }

    /// Fails unless it is a refusal: see [`Outcome::refusal`].
    ///
    /// # Panics
    /// With everything that is known.
    pub fn refuses(&self, code: i32, parts: &[&str]) -> &Self {
        if let Err(wrong) = self.refusal(code, parts) {
            panic!("{wrong}");
        }
        self
    }

    /// Whether it is a refusal: this exit code, nothing on standard output, and an error line
    /// that names each of `parts`.
    ///
    /// # Errors
    /// What is wrong with it, with everything that is known.
    pub fn refusal(&self, code: i32, parts: &[&str]) -> Result<(), String> {
        let stderr = self.stderr();
        let absent: Vec<_> = parts.iter().filter(|part| !stderr.contains(**part)).collect();
        let wrong = if self.status.code() != Some(code) {
            format!("expected exit code {code}")
        } else if !self.stdout.is_empty() {
            "something is on standard output".to_owned()
        } else if !stderr.contains("error:") || stderr.contains("panicked at") {
            "no error line, or a panic".to_owned()
        } else if !absent.is_empty() {
            format!("the error does not name {absent:?}")
        } else {
            return Ok(());
        };
        Err(format!("{wrong}: {}", self.text()))
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The one JSON object on standard output.
    ///
    /// # Panics
    /// Where there is none or more than that.
    pub fn json(&self) -> Value {
        let value = serde_json::from_slice::<Value>(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: not one JSON object: {}", self.text()));
        assert!(value.is_object(), "no object: {}", self.text());
        value
    }

    /// All that is known, for messages.
    pub fn text(&self) -> String {
        format!(
            "{}\n{} after {:.1?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.line,
            self.status,
            self.took,
            shown(&self.stdout),
            shown(&self.stderr)
        )
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    if bytes.len() > SHOWN { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
