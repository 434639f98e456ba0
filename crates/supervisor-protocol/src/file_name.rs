//! Names of files in a run directory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a file in a run directory: no path, so that a supervisor cannot send anybody
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[^/]+$", "maxLength" = FileName::MAX_LEN))]
pub struct FileName(String);

impl FileName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks that it names a file of the directory itself.
    ///
    /// # Errors
    /// [`InvalidFileName`] with the text as it was given.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidFileName> {
        let text = text.into();
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let elsewhere = text == "." || text == ".." || text.contains(['/', '\0']);
        if fits && !elsewhere { Ok(Self(text)) } else { Err(InvalidFileName(text)) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that names no file of the directory itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no name of a file in the run directory: 1 to 64 bytes without '/'")]
pub struct InvalidFileName(pub String);

impl TryFrom<String> for FileName {
    type Error = InvalidFileName;

    fn try_from(text: String) -> Result<Self, InvalidFileName> {
        Self::new(text)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, valid: bool) {
        assert_eq!(FileName::new(text).is_ok(), valid, "{text:?}");
    }

    #[test]
    fn names_lead_nowhere_else() {
        check("console", true);
        check("..console", true);
        check("", false);
        check(".", false);
        check("..", false);
        check("../console", false);
        check("/etc/passwd", false);
        check("a\0b", false);
        check(&"n".repeat(64), true);
        check(&"n".repeat(65), false);
    }
}
