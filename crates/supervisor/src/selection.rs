//! What a user said with `--supervisor`.

use std::fmt;
use std::path::{Path, PathBuf};

use microagent_backend::{Error, ErrorKind};

/// What a user said with `--supervisor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `auto`: the first that works and admits the machine.
    Auto,
    /// A backend by name, with the options after the colon.
    Named {
        /// The name before the colon.
        name: String,
        /// What follows the colon; empty if there is none.
        options: String,
    },
    /// Anything with a slash in it.
    Path {
        /// The file.
        path: PathBuf,
    },
}

impl Selection {
    /// Reads the text of the flag. A slash makes it a path, so that a file in the working
    /// directory is `./name`, as in a shell.
    ///
    /// # Errors
    /// `Usage` for an empty text or name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.contains('/') {
            return Ok(Self::Path { path: Path::new(text).to_path_buf() });
        }
        match text.split_once(':').unwrap_or((text, "")) {
            ("", _) => {
                Err(Error::new(ErrorKind::Usage, format!("supervisor '{text}' names nothing"))
                    .with_hint("give a name such as 'qemu', or the path of a hypervisor"))
            }
            ("auto", "") => Ok(Self::Auto),
            ("auto", options) => Err(Error::new(
                ErrorKind::Usage,
                format!("supervisor 'auto' takes no options, got '{options}'"),
            )),
            (name, options) => {
                Ok(Self::Named { name: name.to_owned(), options: options.to_owned() })
            }
        }
    }
}

/// As it is written.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named { name, options } if options.is_empty() => f.write_str(name),
            Self::Named { name, options } => write!(f, "{name}:{options}"),
            Self::Path { path } => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, options: &str) -> Option<Selection> {
        Some(Selection::Named { name: name.into(), options: options.into() })
    }

    fn check(text: &str, expect: Option<Selection>) {
        let parsed = Selection::parse(text).ok();
        assert_eq!(parsed, expect, "{text:?}");
        let written = parsed.map(|selection| selection.to_string());
        assert!(written.is_none_or(|written| written == text), "{text:?}");
    }

    #[test]
    fn names_options_and_paths_are_told_apart() {
        check("auto", Some(Selection::Auto));
        check("qemu", named("qemu", ""));
        check("qemu:accel=tcg", named("qemu", "accel=tcg"));
        check("./qemu", Some(Selection::Path { path: "./qemu".into() }));
        check("/usr/bin/qemu:x", Some(Selection::Path { path: "/usr/bin/qemu:x".into() }));
        check("", None);
        check(":accel=tcg", None);
        check("auto:x", None);
    }
}
