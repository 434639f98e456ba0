//! What a user may choose about this backend.

use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Result};

/// What a user may choose about this backend, and what it needs from the program.
#[derive(Debug, Clone, Default)]
pub struct KvmOptions {
    /// What to do where KVM only interprets.
    pub emulated: Emulated,
    /// The program `microagent-vmm`, an absolute path.
    pub monitor: PathBuf,
    /// An existing directory in which to remember what KVM is here, so that it is found out
    /// once and not at every run; without one it is found out once by each process.
    pub cache_dir: Option<PathBuf>,
}

/// What to do where KVM takes every call and then interprets guest code in software.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Emulated {
    /// Make no machines: they would be a thousand times slower, and no ordinary kernel boots.
    #[default]
    Refuse,
    /// Make machines all the same, for guests of a few instructions in tests.
    Allow,
}

/// All options with their values, for messages.
const KNOWN: &str = "known are: emulated=refuse|allow";

impl KvmOptions {
    /// Reads what stands after the colon in `kvm:emulated=allow`: pairs separated by commas,
    /// possibly none.
    ///
    /// # Errors
    /// `Usage` for what is unknown, with all that is known in the hint.
    pub fn parse_options(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::Usage, what).with_hint(KNOWN);
        let mut emulated = None;
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key != "emulated" {
                return Err(wrong(format!("kvm has no option '{key}'")));
            }
            let chosen = match value {
                "refuse" => Emulated::Refuse,
                "allow" => Emulated::Allow,
                _ => return Err(wrong(format!("'{value}' is no value of kvm's option '{key}'"))),
            };
            if emulated.replace(chosen).is_some() {
                return Err(wrong("kvm's option 'emulated' is given twice".into()));
            }
        }
        Ok(Self { emulated: emulated.unwrap_or_default(), ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options() {
        let check = |text: &str, expect| {
            assert_eq!(KvmOptions::parse_options(text).unwrap().emulated, expect, "{text:?}");
        };
        check("", Emulated::Refuse);
        check("emulated=refuse", Emulated::Refuse);
        check("emulated=allow", Emulated::Allow);
    }

    #[test]
    fn unknown_options_name_the_known() {
        let check = |text: &str, expect: &str| {
            let error = KvmOptions::parse_options(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert_eq!(error.hint.as_deref(), Some(KNOWN));
            assert_eq!(error.message, expect);
        };
        check("accel=tcg", "kvm has no option 'accel'");
        check("emulated", "'' is no value of kvm's option 'emulated'");
        check("emulated=yes", "'yes' is no value of kvm's option 'emulated'");
        check("emulated=allow,emulated=refuse", "kvm's option 'emulated' is given twice");
        check("emulated=allow,", "kvm has no option ''");
    }
}
