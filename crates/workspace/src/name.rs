//! Names of workspaces.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a workspace: 1 to 63 characters of `a-z A-Z 0-9 . _ -`, beginning with a
/// letter or digit.
///
/// It is a file name in the state directory and, made lower case, a host name, so nothing
/// that either of them cannot be is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that cannot be the name of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "workspace name '{0}' must be 1 to 63 characters of a-z, A-Z, 0-9, '.', '_' and '-', \
     beginning with a letter or digit"
)]
pub struct InvalidName(pub String);

impl Name {
    /// Checks a name that a user gave.
    ///
    /// # Errors
    /// [`InvalidName`] with the text as it was given.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if starts && text.len() <= 63 && text.bytes().all(known) {
            Ok(Self(text))
        } else {
            Err(InvalidName(text))
        }
    }

    /// A name for a run that was given none: `run-<adjective>-<noun>-<4 hex digits>`.
    pub fn generate() -> Self {
        let mut bits = [0_u8; 4];
        // Without entropy the name is only less random; taking a name that exists is an
        // error of its own.
        let _ = rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty());
        let [a, n, h, l] = bits;
        let pick = |words: &[&'static str], at: u8| words[at as usize % words.len()];
        Self(format!("run-{}-{}-{h:02x}{l:02x}", pick(ADJECTIVES, a), pick(NOUNS, n)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name made into a host name (RFC 1123): lower case, anything but letters, digits
    /// and `-` replaced by `-`, none of those at an end.
    pub fn hostname(&self) -> String {
        let map = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        self.0.chars().map(map).collect::<String>().trim_matches('-').to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

const ADJECTIVES: &[&str] = &[
    "amber", "bold", "brisk", "calm", "clear", "clever", "cosy", "crisp", "dry", "eager", "early",
    "fair", "fast", "fine", "firm", "fresh", "glad", "gold", "green", "keen", "kind", "light",
    "lucid", "merry", "mild", "neat", "noble", "plain", "proud", "quick", "quiet", "sharp",
];

const NOUNS: &[&str] = &[
    "ash", "bay", "birch", "brook", "cliff", "cloud", "cove", "dale", "dune", "elm", "fern",
    "field", "fjord", "glen", "grove", "heath", "hill", "isle", "lake", "larch", "meadow", "moor",
    "oak", "peak", "pine", "reef", "ridge", "river", "shore", "stone", "vale", "wood",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, hostname: Option<&str>) {
        let got = Name::new(text).ok().map(|name| name.hostname());
        assert_eq!(got.as_deref(), hostname, "{text:?}");
    }

    #[test]
    fn names_are_file_names_and_make_host_names() {
        check("web", Some("web"));
        check("Web_1.test", Some("web-1-test"));
        check("a-", Some("a"));
        check("", None);
        check(".", None);
        check("..", None);
        check("-rf", None);
        check("a/b", None);
        check("a b", None);
        check("ä", None);
        check(&"a".repeat(63), Some(&"a".repeat(63)));
        check(&"a".repeat(64), None);
    }

    #[test]
    fn generated_names_are_names() {
        for _ in 0..100 {
            let name = Name::generate();
            assert_eq!(Name::new(name.as_str()), Ok(name.clone()), "{name}");
        }
    }
}
