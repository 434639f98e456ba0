//! What a user may choose about this backend.

use std::path::PathBuf;

use microagent_backend::{Error, ErrorKind, Result};

/// What a user may choose about this backend, and what it needs from the program.
#[derive(Debug, Clone, Default)]
pub struct QemuOptions {
    /// The QEMU that the user named; otherwise `qemu-system-x86_64` of `PATH`.
    pub program: Option<PathBuf>,
    /// How guest code is to be run.
    pub accel: Accel,
    /// The program `microagent-vmm`, an absolute path.
    pub monitor: PathBuf,
    /// An existing directory in which to remember what a QEMU can do, so that it is asked
    /// once and not at every run; without one it is asked once by each process.
    pub cache_dir: Option<PathBuf>,
}

/// How guest code is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accel {
    /// By KVM where it is real, else by TCG.
    #[default]
    Auto,
    /// By KVM, or not at all.
    Kvm,
    /// By QEMU's own translator.
    Tcg,
}

/// All options with their values, for messages.
const KNOWN: &str = "known are: accel=auto|kvm|tcg";

impl QemuOptions {
    /// Reads what stands after the colon in `qemu:accel=tcg`: pairs separated by commas,
    /// possibly none.
    ///
    /// # Errors
    /// `Usage` for what is unknown, with all that is known in the hint.
    pub fn parse_options(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::Usage, what).with_hint(KNOWN);
        let mut accel = None;
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key != "accel" {
                return Err(wrong(format!("qemu has no option '{key}'")));
            }
            let chosen = match value {
                "auto" => Accel::Auto,
                "kvm" => Accel::Kvm,
                "tcg" => Accel::Tcg,
                _ => return Err(wrong(format!("'{value}' is no value of qemu's option 'accel'"))),
            };
            if accel.replace(chosen).is_some() {
                return Err(wrong("qemu's option 'accel' is given twice".into()));
            }
        }
        Ok(Self { accel: accel.unwrap_or_default(), ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options() {
        let check = |text: &str, expect| {
            assert_eq!(QemuOptions::parse_options(text).unwrap().accel, expect, "{text:?}");
        };
        check("", Accel::Auto);
        check("accel=auto", Accel::Auto);
        check("accel=kvm", Accel::Kvm);
        check("accel=tcg", Accel::Tcg);
    }

    #[test]
    fn unknown_options_name_the_known() {
        let check = |text: &str, expect: &str| {
            let error = QemuOptions::parse_options(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage);
            assert_eq!(error.hint.as_deref(), Some(KNOWN));
            assert_eq!(error.message, expect);
        };
        check("speed=9", "qemu has no option 'speed'");
        check("accel", "'' is no value of qemu's option 'accel'");
        check("accel=xen", "'xen' is no value of qemu's option 'accel'");
        check("accel=kvm,accel=tcg", "qemu's option 'accel' is given twice");
        check("accel=kvm,", "qemu has no option ''");
    }
}
